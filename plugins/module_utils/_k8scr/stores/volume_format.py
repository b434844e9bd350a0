# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The format of a volume of a bundle, no I/O: its description, and the names of the parts of blobs."""

from __future__ import annotations

from ..errors import InputError, SourceError
from ..files.file_access import Files, read_file
from ..oci.digest import split_digest
from ..oci.manifest import load_json_object
from .bundle_format import (
    MAXIMUM_BUNDLE_FILE,
    MAXIMUM_VOLUMES,
    PARTS_FOLDER,
    SCHEMA_VERSION,
    VOLUME_FILE,
    Volumes,
    json_content,
    require_kind,
)
from .json_members import number, sha256_sum

VOLUME_MEDIA_TYPE = "application/vnd.k8scr.volume.v1+json"


def volume_content(position: int, volumes: Volumes) -> bytes:
    """Return the content of ``volume.json``."""
    value = {"schemaVersion": SCHEMA_VERSION, "mediaType": VOLUME_MEDIA_TYPE}
    return json_content({**value, "bundle": volumes.id, "number": position, "count": volumes.count})


def read_volume(files: Files) -> tuple[str, int]:
    """Return the bundle's ID and the number of a volume.

    Raises:
        SourceError: ``volume.json`` is missing or damaged.
    """
    content = read_file(files, VOLUME_FILE, MAXIMUM_BUNDLE_FILE)
    try:
        value = load_json_object(content, VOLUME_FILE)
        require_kind(value, VOLUME_MEDIA_TYPE)
        return sha256_sum(value, "bundle"), number(value, "number", 1, MAXIMUM_VOLUMES)
    except InputError as error:
        raise SourceError(
            f"{VOLUME_FILE} in {files.description} cannot be used: {error.message}", "Copy the volume again"
        ) from error


def part_path(digest: str, position: int) -> str:
    """Return the path of a part of a blob on its volume; parts are counted from 1.

    ISO 9660 with Joliet has at most 64 characters for a name, so it has only the beginning of the digest.
    """
    return f"{PARTS_FOLDER}/{split_digest(digest)[1][:32]}.{position}"
