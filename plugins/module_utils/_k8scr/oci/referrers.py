# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of referrers: artifacts, such as signatures, attestations and SBOMs, that refer to a manifest.

OCI distribution specification 1.1, "Listing Referrers" and "Referrers Tag Schema".
"""

from __future__ import annotations

from typing import Any

from ..errors import InputError, SourceError
from .descriptor import Descriptor
from .digest import split_digest
from .manifest import Manifest, is_index, load_json_object

COSIGN_SUFFIXES = (".att", ".sbom", ".sig")
"""The suffixes of cosign's tags for a manifest's signatures, attestations and SBOMs."""


def fallback_tag(digest: str) -> str:
    """Return the tag of the index that lists a manifest's referrers in a registry without the referrers API."""
    algorithm, encoded = split_digest(digest)
    return f"{algorithm[:32]}-{encoded[:64]}"


def cosign_tags(digest: str) -> list[str]:
    """Return cosign's tags for the artifacts of a manifest."""
    algorithm, encoded = split_digest(digest)
    return [f"{algorithm}-{encoded}{suffix}" for suffix in COSIGN_SUFFIXES]


def describe_referrer(manifest: Manifest) -> dict[str, Any]:
    """Return a referrer's entry in a list: its descriptor, artifact type and annotations."""
    value = load_json_object(manifest.content, "the manifest")
    kind = value.get("artifactType") or (manifest.config.media_type if manifest.config else None)
    more = {"artifactType": kind, "annotations": value.get("annotations")}
    return {**manifest.descriptor.to_json(), **{key: text for key, text in more.items() if text}}


def with_entries(entries: list[dict[str, Any]], more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries, followed by the entries of ``more`` with other digests."""
    known = {entry["digest"] for entry in entries}
    return [*entries, *(entry for entry in more if entry["digest"] not in known)]


def entries_of(index: Manifest) -> list[dict[str, Any]]:
    """Return the entries of the index with the fallback tag.

    Raises:
        SourceError: An entry is not a descriptor.
    """
    # An image manifest under this tag is a user's image, not a list.
    is_list = is_index(index.descriptor.media_type)
    return read_entries(index.content, "the list of referrers") if is_list else []


def read_entries(content: bytes, what: str) -> list[dict[str, Any]]:
    """Return the entries of a list of referrers, an index in JSON.

    Raises:
        SourceError: The content is not an index, or an entry is not a descriptor.
    """
    try:
        entries = load_json_object(content, what).get("manifests") or []
        for entry in entries:
            Descriptor.from_json(entry)
    except (InputError, TypeError) as error:
        raise SourceError(f"{what} cannot be used: {error}") from error
    return list(entries)
