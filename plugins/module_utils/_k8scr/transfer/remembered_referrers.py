# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Remember the referrers of a source, which several steps of a task look up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import K8scrError
from ..oci.descriptor import Descriptor
from ..oci.interfaces import ImageSource, Referrers
from .overlay import OverlaySource

_Found = TypeVar("_Found")


class RememberedReferrers:
    """Referrers that are looked up once; see :class:`Referrers`.

    After an error that was retried until the timeout, all further lookups fail. An error with a limited number of
    attempts, such as the status 500, may be that of one damaged manifest.
    """

    def __init__(self, referrers: Referrers) -> None:
        self._referrers = referrers
        self._entries: dict[str, list[dict[str, Any]] | K8scrError] = {}
        self._tagged: dict[str, Descriptor | K8scrError | None] = {}
        self._failure: K8scrError | None = None

    def of(self, digest: str) -> list[dict[str, Any]]:
        return self._find(self._entries, digest, self._referrers.of)

    def tagged(self, tag: str) -> Descriptor | None:
        return self._find(self._tagged, tag, self._referrers.tagged)

    def _find(self, known: dict[str, _Found | K8scrError], key: str, look_up: Callable[[str], _Found]) -> _Found:
        if key not in known:
            try:
                # Each further lookup would be retried until the timeout.
                known[key] = self._failure or look_up(key)
            except K8scrError as error:
                known[key] = error
                if error.retry and error.retry.attempts is None:
                    self._failure = error
        found = known[key]
        if isinstance(found, K8scrError):
            # Several threads may raise it.
            raise found.replace()
        return found


def remember(referrers: Referrers) -> RememberedReferrers:
    """Return the referrers with a memory, unless they have one."""
    return referrers if isinstance(referrers, RememberedReferrers) else RememberedReferrers(referrers)


class SourceWithReferrers(OverlaySource):
    """A source whose referrers are found by ``referrers``."""

    def __init__(self, source: ImageSource, referrers: Referrers) -> None:
        super().__init__(source)
        self._referrers = referrers

    @property
    def referrers(self) -> Referrers:
        return self._referrers
