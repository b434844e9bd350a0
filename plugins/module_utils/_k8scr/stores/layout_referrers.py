# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Referrers of an OCI layout's manifests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ..errors import SourceError
from ..oci.descriptor import Descriptor
from ..oci.interfaces import ManifestSource
from ..oci.manifest import Manifest, load_json_object
from ..oci.referrers import describe_referrer, entries_of, fallback_tag, with_entries
from .oci_index import find_entry


class LayoutReferrers:
    """Referrers in ``index.json``: entries with a subject, and the index with the fallback tag.

    Args:
        entries: The entries of ``index.json``.
        layout: Returns their manifests.
    """

    def __init__(self, entries: Sequence[Descriptor], layout: ManifestSource) -> None:
        self._entries = entries
        self._layout = layout

    def of(self, digest: str) -> list[dict[str, Any]]:
        root = self.tagged(fallback_tag(digest))
        listed = entries_of(self._layout.fetch_manifest(root)) if root else []
        return with_entries(listed, list(map(describe_referrer, self._by_subject.get(digest, []))))

    def tagged(self, tag: str) -> Descriptor | None:
        return find_entry(self._entries, tag)

    @cached_property
    def _by_subject(self) -> dict[str, list[Manifest]]:
        """The manifests that refer to another manifest, by the digest of that manifest."""
        found: dict[str, list[Manifest]] = {}
        for entry in dict.fromkeys(self._entries):
            try:
                manifest = self._layout.fetch_manifest(entry)
            except SourceError:
                # The manifest is missing (layouts can be sparse), or the entry is not a manifest.
                continue
            subject = load_json_object(manifest.content, "the manifest").get("subject")
            digest = subject.get("digest") if isinstance(subject, dict) else None
            if isinstance(digest, str):
                found.setdefault(digest, []).append(manifest)
        return found
