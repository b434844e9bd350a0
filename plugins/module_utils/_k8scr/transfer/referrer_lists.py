# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lists of referrers in repositories without the referrers API, which clients maintain."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

from ..errors import InputError, K8scrError, MissingManifestError, SourceError
from ..oci.content import Blocks
from ..oci.descriptor import Descriptor
from ..oci.interfaces import ImageDestination, ImageSource
from ..oci.manifest import OCI_INDEX, Manifest, parse_manifest
from ..oci.referrers import fallback_tag, with_entries
from .overlay import OverlaySource


class ReferrerList:
    """The referrers of one manifest, which one or several images of a task have, at their destination.

    Attributes:
        entries: The referrers to copy.
        before: The entries of the list at the destination; ``None`` if the destination lists referrers itself.
        error: The reason why the destination's list cannot be read.
    """

    def __init__(self, destination: ImageDestination, subject: str) -> None:
        self.destination = destination
        self.subject = subject
        self.entries: list[dict[str, Any]] = []
        self.before: list[dict[str, Any]] | None = None
        self.error: K8scrError | None = None
        self._sources: list[ImageSource] = []
        self._existing: Manifest | None = None

    @property
    def tag(self) -> str:
        """The tag of the list."""
        return fallback_tag(self.subject)

    def add(self, source: ImageSource, entries: Sequence[dict[str, Any]]) -> None:
        """Add referrers of a source."""
        self._sources.append(source)
        self.entries = with_entries(self.entries, list(entries))

    def look_up(self) -> None:
        """Read the list at the destination."""
        try:
            self.before = self.destination.fallback_referrers(self.subject)
            root = self.destination.resolve(self.tag) if self.before else None
            self._existing = self.destination.fetch_manifest(root) if root else None
        except K8scrError as error:
            self.error = error

    def leave_out(self, digests: Container[str]) -> None:
        """Remove referrers."""
        self.entries = [entry for entry in self.entries if entry["digest"] not in digests]

    def merged(self) -> tuple[ImageSource, Descriptor]:
        """Return the list with the existing entries and those to copy, and its source.

        Raises:
            SourceError: It has more bytes than registries accept.
        """
        before = self.before or []
        # The entries of other clients stay.
        entries = with_entries(before, self.entries)
        if entries == before and self._existing:
            index = self._existing
        else:
            value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
            try:
                index = parse_manifest(json.dumps(value, separators=(",", ":")).encode())
            except InputError as error:
                raise SourceError(f"the referrers of {self.subject} cannot be listed: {error.message}") from error
        return _ListSource(self._sources, self.destination, index), index.descriptor


class _ListSource(OverlaySource):
    """A source with a merged list of referrers, some of which only one of the sources or the destination has."""

    def __init__(self, sources: Sequence[ImageSource], destination: ImageDestination, index: Manifest) -> None:
        super().__init__(sources[0])
        self._sources = sources
        self._destination = destination
        self.add(index)

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        with suppress(MissingManifestError):
            return super().fetch_manifest(descriptor)
        for source in self._sources[1:]:
            with suppress(MissingManifestError):
                return source.fetch_manifest(descriptor)
        return self._destination.fetch_manifest(descriptor)

    def has_blob(self, descriptor: Descriptor) -> bool:
        return any(source.has_blob(descriptor) for source in self._sources)

    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Blocks]:
        *others, last = self._sources
        found = next((source for source in others if source.has_blob(descriptor)), last)
        return found.open_blob(descriptor, offset)
