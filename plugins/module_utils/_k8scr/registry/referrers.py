# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Referrers of a repository's manifests (OCI distribution specification 1.1, "Listing Referrers")."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import RegistryError, SourceError
from ..http.headers import media_type_of
from ..oci.descriptor import Descriptor
from ..oci.interfaces import ImageDestination
from ..oci.manifest import MAXIMUM_SIZE, OCI_INDEX, is_index
from ..oci.referrers import entries_of, fallback_tag, read_entries
from .client import Registry

_FORBIDDEN = 403
_WITHOUT_API = (400, 404, 405, 406, 501)
"""Status codes of registries without the referrers API."""
_MOST_PAGES = 100
_MOST_ENTRIES = 1000
_MOST_BYTES = 2 * MAXIMUM_SIZE
"""Bytes of all pages: twice those of the largest list that clients can maintain."""


class RegistryReferrers:
    """Referrers from the referrers API, or from the index with the fallback tag; see :class:`Referrers`."""

    def __init__(self, registry: Registry, repository: ImageDestination) -> None:
        self._registry = registry
        self._repository = repository
        self._has_api = True

    def of(self, digest: str) -> list[dict[str, Any]]:
        listed = self.listed(digest)
        return self.fallback(digest) if listed is None else listed

    def fallback(self, digest: str, replaces: bool = False) -> list[dict[str, Any]]:
        """Return the entries of the index with the fallback tag, which clients maintain without the API.

        Args:
            replaces: Whether the caller replaces the index.

        Raises:
            SourceError: It is invalid, or the caller would replace an image.
        """
        tag = fallback_tag(digest)
        root = self.tagged(tag)
        if root is None:
            return []
        index = self._repository.fetch_manifest(root)
        if replaces and not is_index(index.descriptor.media_type):
            raise SourceError(
                f"the tag {tag} in {self._repository.description} has an image, not a list of referrers",
                "Remove the tag, so that it can list the referrers",
            )
        return entries_of(index)

    def tagged(self, tag: str) -> Descriptor | None:
        with _hidden():
            return self._repository.resolve(tag)
        return None

    def listed(self, digest: str) -> list[dict[str, Any]] | None:
        """Return the list of the referrers API; ``None`` if the registry does not have the API."""
        listed = None
        if self._has_api:
            with _hidden():
                listed = self._listed(digest)
            self._has_api = listed is not None
        return listed

    def _listed(self, digest: str) -> list[dict[str, Any]] | None:
        failure = f"the referrers of {digest} cannot be listed"
        path = f"/v2/{self._repository.repository}/referrers/{digest}"
        entries: list[dict[str, Any]] = []
        size = 0
        pages = self._registry.request_pages(path, failure, (200, *_WITHOUT_API), headers={"Accept": OCI_INDEX})
        for number, response in enumerate(pages, 1):
            media_type = media_type_of(response.headers)
            if response.status_code != 200 or media_type != OCI_INDEX:
                return None
            page = read_entries(response.content, f"{failure}: the response of {self._registry.description}")
            entries += page
            size += len(response.content)
            is_endless = response.next_page and ((number > 1 and not page) or number == _MOST_PAGES)
            if len(entries) > _MOST_ENTRIES or size > _MOST_BYTES or is_endless:
                raise SourceError(f"{failure}: {self._registry.description} returned too many pages or entries")
        return entries


@contextmanager
def _hidden() -> Iterator[None]:
    """Ignore 403, which some registries return for a missing tag and for the missing API.

    Access is not denied: the subject was read from the same repository.
    """
    try:
        yield
    except RegistryError as error:
        if error.status != _FORBIDDEN:
            raise
