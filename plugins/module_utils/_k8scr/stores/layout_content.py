# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The content of OCI layouts that is reachable from entries of ``index.json``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from ..errors import InputError, MissingManifestError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.digest import read_verified
from ..oci.manifest import MAXIMUM_SIZE, Manifest, is_manifest, load_json_object
from .oci_layout import OciLayoutSource


def reachable(
    layout: OciLayoutSource | None, entries: Iterable[Descriptor], added: Mapping[str, Manifest]
) -> dict[str, Descriptor]:
    """Return the descriptors of all content that is reachable from the entries, by digest. Content can be missing."""
    found: dict[str, Descriptor] = {}
    waiting, followed = deque(entries), set[str]()
    while waiting:
        descriptor = waiting.popleft()
        if descriptor.digest in followed:
            continue
        followed.add(descriptor.digest)
        manifest = added.get(descriptor.digest)
        manifests, blobs = (manifest.manifests, manifest.blobs) if manifest else _parts(layout, descriptor)
        waiting.extend(manifests)
        for each in (descriptor, *blobs):
            found.setdefault(each.digest, each)
    return found


def _parts(layout: OciLayoutSource | None, descriptor: Descriptor) -> tuple[Sequence[Descriptor], Sequence[Descriptor]]:
    """Return the manifests and the blobs in a manifest, an index or a document of unknown kind."""
    if layout is None:
        return (), ()
    try:
        manifest = layout.fetch_manifest(descriptor)
    except MissingManifestError:
        return (), ()
    except SourceError:
        parts = _descriptors_in(layout, descriptor)
        return [part for part in parts if is_manifest(part.media_type)], parts
    return manifest.manifests, manifest.blobs


def _descriptors_in(layout: OciLayoutSource, document: Descriptor) -> list[Descriptor]:
    """Return all descriptors among the members of a JSON object; none for other or larger documents."""
    if document.size > MAXIMUM_SIZE:
        return []
    what = f"{document.digest} in {layout.description}"
    with layout.open_blob(document) as blocks:
        content = read_verified(blocks, document.digest, document.size, what)
    try:
        members = load_json_object(content, "the document").values()
    except InputError:
        return []
    descriptors = []
    for member in members:
        for value in member if isinstance(member, list) else [member]:
            try:
                descriptors.append(Descriptor.from_json(value))
            except InputError:
                continue
    return descriptors
