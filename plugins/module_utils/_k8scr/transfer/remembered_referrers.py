# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Remember the referrers of a source, which several steps of a task look up."""

from __future__ import annotations

from typing import Any

from ..oci.descriptor import Descriptor
from ..oci.interfaces import ImageSource, Referrers
from .overlay import OverlaySource


class RememberedReferrers:
    """Referrers that are looked up once; see :class:`Referrers`. Errors are not remembered."""

    def __init__(self, referrers: Referrers) -> None:
        self._referrers = referrers
        self._entries: dict[str, list[dict[str, Any]]] = {}
        self._tagged: dict[str, Descriptor | None] = {}

    def of(self, digest: str) -> list[dict[str, Any]]:
        if digest not in self._entries:
            self._entries[digest] = self._referrers.of(digest)
        return self._entries[digest]

    def tagged(self, tag: str) -> Descriptor | None:
        if tag not in self._tagged:
            self._tagged[tag] = self._referrers.tagged(tag)
        return self._tagged[tag]


class SourceWithReferrers(OverlaySource):
    """A source whose referrers are found by ``referrers``."""

    def __init__(self, source: ImageSource, referrers: Referrers) -> None:
        super().__init__(source)
        self._referrers = referrers

    @property
    def referrers(self) -> Referrers:
        return self._referrers
