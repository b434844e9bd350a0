# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Image archives on the controller: which images are in them, so that nodes are sent only what they lack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.digest import digest_of, split_digest
from ..oci.interfaces import ManifestSource
from ..stores.location import Location, open_source


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
    file = _with_prefix(path, "".join(sorted(f"{image.name}{image.digest}{image.config_digests}" for image in images)))
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


def name_archives(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return an entry of a module's result for each archive, with its name in a folder that has all of them.

    Archives with the same base name would replace each other in the folder: their names have a prefix. It depends on
    the path, so that a new version of an archive replaces the previous one.
    """
    unique = list(dict.fromkeys(paths))
    base_names = Counter(path.name for path in unique)
    entries = []
    for path in unique:
        shared = base_names[path.name] > 1
        names = [path.name, _with_prefix(path, str(path))]
        entries.append({"path": str(path), "name": names[shared], "other_name": names[not shared], "shared": shared})
    return entries


def refuse_collisions(images: Iterable[Mapping[str, Any]]) -> None:
    """Refuse entries of different images with the same name: each run would replace one with the other.

    Args:
        images: Entries as :func:`describe` returns them.

    Raises:
        InputError: There are such entries.
    """
    known: dict[str, Mapping[str, Any]] = {}
    for image in images:
        other = known.setdefault(image["name"], image)
        if image["digest"] and other["digest"]:
            same = image["digest"] == other["digest"]
        else:
            same = not set(image["config_digests"]).isdisjoint(other["config_digests"])
        if not same:
            archives = " and ".join(each.get("archive") or each["file"] for each in (other, image))
            raise InputError(f"{archives} have different images named {image['name']}", "Leave out one of the archives")


def _with_prefix(path: Path, text: str) -> str:
    """Return the base name of an archive after a prefix that depends on a text."""
    return f"{split_digest(digest_of(text.encode()))[1][:12]}-{path.name}"


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
