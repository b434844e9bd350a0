# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Image archives on the controller: which images are in them, so that nodes are sent only what they lack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.digest import digest_of
from ..stores.location import Location, open_source
from ..stores.store import ManifestSource


@dataclass(frozen=True)
class ArchivedImage:
    """An image in an archive.

    Attributes:
        name: Its full name.
        digest: The digest of its manifest or index; empty where the archive has none of its own.
        config_digests: The digests of its configs, one for each platform.
    """

    name: str
    digest: str
    config_digests: tuple[str, ...]


def read_archive(path: Path) -> list[ArchivedImage]:
    """Return the images of an archive.

    Raises:
        SourceError: It is not there, or cannot be read.
        InputError: It is no archive, or has an image without a full name, under which no Pod would find it.
    """
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, not an archive", "Pack it with: skopeo copy oci:FOLDER:NAME oci-archive:"
        )
    source = open_source(Location("", path))
    try:
        images = []
        for image in source.images():
            if image.name is None or image.name.tag is None:
                raise InputError(
                    f"{path} has an image without a full name, {image.root.digest}",
                    "Save it under its name, as docker save NAME and skopeo copy … oci-archive:PATH:NAME do",
                )
            name = f"{image.name.host}/{image.name.path}:{image.name.tag}"
            if image.config_digest:
                images.append(ArchivedImage(name, "", (image.config_digest,)))
            else:
                images.append(ArchivedImage(name, image.root.digest, tuple(_configs(source, image.root))))
        return images
    finally:
        source.close()


def describe(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a module's result.

    Raises:
        K8scrError: As :func:`read_archive`.
    """
    images = read_archive(path)
    identity = digest_of("".join(sorted(f"{image.digest}{image.config_digests}" for image in images)).encode())
    file = f"{identity.partition(':')[2][:12]}-{path.name}"
    return [
        {
            "archive": str(path),
            "file": file,
            "name": image.name,
            "digest": image.digest,
            "config_digests": list(image.config_digests),
        }
        for image in images
    ]


def _configs(source: ManifestSource, root: Descriptor, depth: int = 0) -> Iterator[str]:
    try:
        manifest = source.fetch_manifest(root)
    except (SourceError, InputError):
        if not depth:
            raise
        # Docker lists platforms that it has not saved.
        return
    if manifest.config:
        yield manifest.config.digest
    for child in manifest.manifests if depth < 2 else ():
        yield from _configs(source, child, depth + 1)
