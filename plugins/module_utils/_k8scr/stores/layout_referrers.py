# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Referrers of an OCI layout's manifests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..oci.referrers import describe_referrer, entries_of, fallback_tag, with_entries
from .oci_index import find_entry

if TYPE_CHECKING:
    from ..oci.descriptor import Descriptor
    from .oci_layout import OciLayoutSource


class LayoutReferrers:
    """Referrers in ``index.json``: entries with a subject, and the index with the fallback tag."""

    def __init__(self, layout: OciLayoutSource) -> None:
        self._layout = layout

    def of(self, digest: str) -> list[dict[str, Any]]:
        """See :meth:`Referrers.of`."""
        root = self.tagged(fallback_tag(digest))
        listed = entries_of(self._layout.fetch_manifest(root)) if root else []
        return with_entries(listed, list(map(describe_referrer, self._layout.with_subject.get(digest, []))))

    def tagged(self, tag: str) -> Descriptor | None:
        """See :meth:`Referrers.tagged`."""
        return find_entry(self._layout.entries, tag)
