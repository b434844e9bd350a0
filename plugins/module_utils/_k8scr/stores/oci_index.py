# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of an OCI layout, and the names of its images in ``index.json`` (OCI image spec., "Image Layout")."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from ..errors import InputError, SourceError
from ..files.file_access import Files, read_file
from ..oci.descriptor import Descriptor
from ..oci.digest import split_digest
from ..oci.manifest import MAXIMUM_SIZE, OCI_INDEX, load_json_object
from ..oci.reference import Reference, parse_reference

INDEX_FILE = "index.json"
LAYOUT_FILE = "oci-layout"
BUNDLE_FILE = "bundle.json"
"""The description of a bundle, which is a layout with further files."""
LAYOUT_CONTENT = b'{"imageLayoutVersion":"1.0.0"}'
REFERENCE_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"
_KIND = re.compile(r"(?:dev\.cosignproject\.cosign|dev\.hauler)/(\w+)(?:/.*)?")
"""Values of the annotation ``kind``, which distinguishes an image of cosign or hauler from artifacts of its name."""
_ATTACHED = ("sigs", "atts", "sboms", "referrers")
_MEDIA_TYPE_UNKNOWN = "application/octet-stream"


def blob_path(digest: str) -> str:
    """Return the path of a manifest or a blob in a layout."""
    return "blobs/" + "/".join(split_digest(digest))


def read_index(files: Files) -> list[Descriptor]:
    """Return the entries of a layout's ``index.json``.

    Raises:
        SourceError: The file is missing or damaged.
    """
    content = read_file(files, INDEX_FILE, MAXIMUM_SIZE)
    try:
        entries = load_json_object(content, INDEX_FILE).get("manifests") or []
        if not isinstance(entries, list):
            raise InputError("its manifests are not a list")
        return [_read_entry(position, entry) for position, entry in enumerate(entries)]
    except InputError as error:
        raise SourceError(f"{INDEX_FILE} in {files.description} is damaged: {error.message}") from error


def _read_entry(position: int, entry: Any) -> Descriptor:
    if isinstance(entry, Mapping) and entry.get("mediaType") is None:
        # The manifest itself shows its media type.
        entry = {**entry, "mediaType": _MEDIA_TYPE_UNKNOWN}
    try:
        return Descriptor.from_json(entry)
    except InputError as error:
        raise InputError(f"entry {position} of its manifests cannot be used: {error.message}") from error


def layout_files(entries: Iterable[Descriptor]) -> dict[str, bytes]:
    """Return the files of a layout with these entries, except blobs and manifests, by name."""
    return {LAYOUT_FILE: LAYOUT_CONTENT, INDEX_FILE: write_index(entries)}


def write_index(entries: Iterable[Descriptor]) -> bytes:
    """Return the content of an ``index.json`` with these entries."""
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry.to_json() for entry in entries]},
        separators=(",", ":"),
    ).encode()


def entry_names(entry: Descriptor) -> tuple[str, ...]:
    """Return the names of an entry, the most complete first."""
    names = (entry.annotations.get(key) for key in (_CONTAINERD_NAME, REFERENCE_NAME))
    return tuple(name for name in names if name)


def full_name(entry: Descriptor) -> Reference | None:
    """Return the reference among an entry's names, if any. Artifacts that share the name of their image have none."""
    for name in entry_names(entry) if attached_kind(entry) is None else ():
        if _is_full(name):
            with suppress(InputError):
                return parse_reference(name)
    return None


def _is_full(name: str) -> bool:
    # A single word can be a tag or a name; a name with a path or a tag is unambiguous.
    return "/" in name or ":" in name


def invalid_name(entry: Descriptor) -> InputError | None:
    """Return the error in the first full name of an entry, if it is not a valid reference."""
    for name in filter(_is_full, entry_names(entry)):
        try:
            parse_reference(name)
        except InputError as error:
            return error
    return None


def unusable_name(error: InputError | None, position: int) -> SourceError | None:
    """Return the error for the image at this position of a source, if its name is not a valid reference."""
    if error is None:
        return None
    helm = ". Helm writes _ in place of +" if "+" in error.message else ""
    return SourceError(
        error.message, f"Select it with @{position} in place of a name, and set its name with the option name{helm}"
    )


def attached_kind(entry: Descriptor) -> str | None:
    """Return the kind of an artifact that is stored under an image's name, such as ``sigs``; ``None`` for an image."""
    match = _KIND.fullmatch(entry.annotations.get("kind", ""))
    return match[1] if match and match[1] in _ATTACHED else None


def has_image_kind(entry: Descriptor) -> bool:
    """Whether cosign or hauler stored an entry as an image."""
    match = _KIND.fullmatch(entry.annotations.get("kind", ""))
    return match is not None and match[1] not in _ATTACHED


def find_entry(entries: Iterable[Descriptor], name: str) -> Descriptor | None:
    """Return the entry with this name or digest; an image before the artifacts that are stored under its name."""
    found = [entry for entry in entries if name in entry_names(entry) or name == entry.digest]
    return min(found, key=lambda entry: attached_kind(entry) is not None, default=None)


def with_entry(entries: Iterable[Descriptor], root: Descriptor, name: str | None) -> list[Descriptor]:
    """Return the entries with ``root`` added. It replaces an entry of the same name; without a name, it occurs once."""
    kept = [entry for entry in entries if not name or name not in entry_names(entry)]
    if not name and root in kept:
        return kept
    annotations = {REFERENCE_NAME: name} if name else {}
    return [*kept, Descriptor(root.media_type, root.digest, root.size, annotations, root.platform)]
