# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``manifest.json``: the images of a Docker archive.

Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from ..errors import DestinationError, InputError, SourceError
from ..files.file_access import Files, read_file
from ..oci.descriptor import Descriptor
from ..oci.digest import split_digest
from ..oci.manifest import DOCKER_CONFIG, MAXIMUM_SIZE, OCI_CONFIG, Manifest, load_json
from ..oci.reference import parse_reference
from .oci_index import blob_path, layout_files, with_entry

MANIFEST_FILE = "manifest.json"
_PATH_WITH_DIGEST = re.compile(r"(?:blobs/sha256/|sha256:)([0-9a-f]{64})|([0-9a-f]{64})\.json")
"""Paths of configs from Docker, Podman and go-containerregistry, and of layers from Docker 25 and later."""
_CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
_MAXIMUM_PARTS = 60_000
"""Total configs and layers of all images, which stay in memory. With real names, the size limit allows fewer."""


@dataclass(frozen=True)
class ArchiveEntry:
    """An image in ``manifest.json``: the paths of its config and layers, and its names.

    Attributes:
        name_error: The error of a name that is not a valid reference and is not in ``tags``.
    """

    config: str
    layers: list[str]
    tags: list[str]
    name_error: InputError | None = None


def read_archive_entries(files: Files) -> list[ArchiveEntry]:
    """Return the images in an archive's ``manifest.json``.

    Raises:
        SourceError: The file is missing or damaged.
    """
    content = read_file(files, MANIFEST_FILE, MAXIMUM_SIZE)
    try:
        values = load_json(content, f"{MANIFEST_FILE} in {files.description}")
    except InputError as error:
        raise SourceError(error.message) from error
    if not isinstance(values, list):
        raise SourceError(f"{MANIFEST_FILE} in {files.description} is not a list of images")
    try:
        entries = list(map(_parse_entry, values))
    except InputError as error:
        raise unreadable(files, f"{MANIFEST_FILE}: {error.message}") from error
    if sum(1 + len(entry.layers) for entry in entries) > _MAXIMUM_PARTS:
        raise unreadable(files, f"{MANIFEST_FILE}: its images have more than {_MAXIMUM_PARTS} configs and layers")
    return entries


def unreadable(files: Files, reason: str) -> SourceError:
    """Return the error for a damaged Docker archive."""
    return SourceError(f"{files.description} is not a readable Docker archive: {reason}")


def verify_path(files: Files, path: str, digest: str) -> None:
    """Raise an error if the path of a config or a layer contains another digest than that of its content."""
    match = _PATH_WITH_DIGEST.fullmatch(path)
    if match and (match[1] or match[2]) != split_digest(digest)[1]:
        raise unreadable(files, f"the content of {path} has the digest {digest}")


def _parse_entry(value: Any) -> ArchiveEntry:
    try:
        # Images without layers have null or no list of them.
        config, layers, tags = value["Config"], value.get("Layers") or [], value.get("RepoTags") or []
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError("an image has no config") from error
    if not isinstance(layers, list) or not isinstance(tags, list):
        raise InputError("the layers or the names of an image are not a list")
    if not all(isinstance(text, str) for text in (config, *layers, *tags)):
        raise InputError("a path or a name of an image is not a string")
    valid, name_error = [], None
    for tag in tags:
        try:
            parse_reference(tag)
            valid.append(tag)
        except InputError as error:
            name_error = error
    return ArchiveEntry(config, layers, valid, name_error)


def archive_files(root: Manifest, name: str) -> dict[str, bytes]:
    """Return the files of a Docker archive with one image and its name, which has a tag, except its blobs."""
    images = [archive_entry(root, root.config, name)] if root.config else []
    return {
        **layout_files(with_entry([], root.descriptor, name)),
        blob_path(root.descriptor.digest): root.content,
        MANIFEST_FILE: json.dumps(images).encode(),
    }


def archive_entry(manifest: Manifest, config: Descriptor, *tags: str) -> dict[str, Any]:
    """Return the JSON object of an image in ``manifest.json``."""
    return {
        "Config": blob_path(config.digest),
        "RepoTags": list(tags),
        "Layers": [blob_path(layer.digest) for layer in manifest.layers],
    }


def require_container_image(manifest: Manifest, store: str) -> None:
    """Raise an error unless the manifest belongs to a container image. ``store`` names the kind of store in messages.

    Raises:
        DestinationError: The manifest belongs to another artifact, for example a Helm chart.
    """
    media_type = manifest.config.media_type if manifest.config else manifest.descriptor.media_type
    if media_type not in _CONFIGS:
        raise DestinationError(
            f"{store} can store only container images, not {media_type:.100}", "Write it to oci: or oci-archive:"
        )
