# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``index.json``: which image of an OCI layout has which name (OCI image specification, "Image Layout")."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ..errors import InputError, SourceError
from ..files.file_access import Files, read_file
from ..oci.descriptor import Descriptor
from ..oci.manifest import MAXIMUM_SIZE, OCI_INDEX, load_json_object

INDEX_FILE = "index.json"
LAYOUT_FILE = "oci-layout"
LAYOUT_CONTENT = b'{"imageLayoutVersion":"1.0.0"}'
REFERENCE_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"


def read_index(files: Files) -> list[Descriptor]:
    """Return the entries of a layout's ``index.json``.

    Raises:
        SourceError: There is none, or it is damaged.
    """
    content = read_file(files, INDEX_FILE, MAXIMUM_SIZE)
    try:
        entries = load_json_object(content, INDEX_FILE).get("manifests") or []
        if not isinstance(entries, list):
            raise InputError("its manifests are not a list")
        return [Descriptor.from_json(entry) for entry in entries]
    except InputError as error:
        raise SourceError(f"{INDEX_FILE} in {files.description} is damaged: {error.message}") from error


def write_index(entries: Iterable[Descriptor]) -> bytes:
    """Return the content of an ``index.json`` with these entries."""
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry.to_json() for entry in entries]},
        separators=(",", ":"),
    ).encode()


def entry_names(entry: Descriptor) -> tuple[str, ...]:
    """Return the names of an entry, the fullest first."""
    names = (entry.annotations.get(key) for key in (_CONTAINERD_NAME, REFERENCE_NAME))
    return tuple(name for name in names if name)


def find_entry(entries: Iterable[Descriptor], name: str) -> Descriptor | None:
    """Return the entry that has this name, or this digest."""
    for entry in entries:
        if name in entry_names(entry) or name == entry.digest:
            return entry
    return None


def with_entry(entries: Iterable[Descriptor], root: Descriptor, name: str | None) -> list[Descriptor]:
    """Return the entries with ``root`` under ``name``, in the place of what had it before; without a name, once."""
    kept = [entry for entry in entries if not name or name not in entry_names(entry)]
    if not name and root in kept:
        return kept
    annotations = {REFERENCE_NAME: name} if name else {}
    return [*kept, Descriptor(root.media_type, root.digest, root.size, annotations, root.platform)]
