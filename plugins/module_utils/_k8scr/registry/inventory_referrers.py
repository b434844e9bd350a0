# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the referrers of stored images; the tags of listed repositories need no further requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..errors import K8scrError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.referrers import cosign_tags, entries_of, fallback_tag
from .client import Registry
from .image_reader import is_about_content
from .inventory import StoredImage, StoredReferrer
from .repository import Repository

_MOST_REFERRERS = 1000
"""Referrers of one image."""


class ReferrerFinder:
    """Finds the referrers of images; several threads may use it.

    Args:
        tags: The descriptors of all tags of the listed repositories.
    """

    def __init__(self, registry: Registry, tags: Mapping[str, Mapping[str, Descriptor]]) -> None:
        self._registry = registry
        self._tags = tags
        self._has_api = True

    def find(self, image: StoredImage) -> StoredImage:
        """Return an image with its referrers and those of its manifests.

        Raises:
            K8scrError: The registry cannot be reached.
        """
        repository = Repository(self._registry, image.repository)
        found: dict[tuple[str, str], StoredReferrer] = {}
        error = None
        try:
            for subject in [each.descriptor.digest for each in image.manifests] or [image.root.digest]:
                for referrer in self._of(repository, subject):
                    found.setdefault((subject, referrer.descriptor.digest), referrer)
                if len(found) > _MOST_REFERRERS:
                    raise SourceError(
                        f"more than {_MOST_REFERRERS} manifests in {repository.description} refer to one image"
                    )
        except K8scrError as failure:
            if not is_about_content(failure):
                raise
            error = failure
        return replace(image, referrers=tuple(found.values()), error=image.error or error)

    def _of(self, repository: Repository, subject: str) -> Iterator[StoredReferrer]:
        for entry in self._entries(repository, subject):
            kind = entry.get("artifactType")
            descriptor = Descriptor.from_json(entry)
            bare = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size)
            yield StoredReferrer(subject, bare, kind[:255] if isinstance(kind, str) else None)
        for tag in cosign_tags(subject):
            tagged = self._tagged(repository, tag)
            if tagged:
                yield StoredReferrer(subject, tagged, tag=tag)

    def _entries(self, repository: Repository, subject: str) -> list[dict[str, Any]]:
        listed = repository.referrers.listed(subject) if self._has_api else None
        if listed is not None:
            return listed
        if subject.startswith("sha256:"):
            # A registry with the API may reject other digests, but not these.
            self._has_api = False
        root = self._tagged(repository, fallback_tag(subject))
        return entries_of(repository.fetch_manifest(root)) if root else []

    def _tagged(self, repository: Repository, tag: str) -> Descriptor | None:
        known = self._tags.get(repository.repository)
        return repository.referrers.tagged(tag) if known is None else known.get(tag)
