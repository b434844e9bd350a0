# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the referrers of images, such as signatures, for many images in parallel."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Union

from ..errors import InputError, K8scrError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.interfaces import ImageSource, Referrers
from ..oci.referrers import cosign_tags
from .remembered_referrers import remember

_MOST_REFERRERS = 1000


@dataclass(frozen=True)
class Attached:
    """The referrers of one manifest.

    Attributes:
        subject: The manifest's digest.
        entries: The referrers that name it as their subject, as an index lists them.
        tags: The artifacts with one of cosign's tags for it, by tag.
    """

    subject: str
    entries: list[dict[str, Any]]
    tags: dict[str, Descriptor]

    @property
    def count(self) -> int:
        """The number of referrers."""
        return len(self.entries) + len(self.tags)


LookupResult = Union[Attached, K8scrError]
Subject = tuple[str, str]
"""A source and the digest of one of its manifests."""


class ReferrerSearch:
    """The search for the referrers of one image, and for the referrers of those.

    Args:
        source: The source of the referrers.
        subjects: The digests of the image's manifests.

    Attributes:
        attached: The referrers that were found, by subject, in the order of the search.
        errors: The errors of manifests whose referrers could not be read.

    Raises:
        InputError: Sources of this kind have no referrers.
    """

    def __init__(self, source: ImageSource, subjects: Iterable[str]) -> None:
        self.referrers = _referrers_in(source)
        self.where = source.description
        self.attached: list[Attached] = []
        self.errors: list[K8scrError] = []
        self._seen = set[str]()
        self._lock = threading.Lock()
        self._listed = 0
        self.subjects = self._new(subjects)
        """The digests to look up next."""

    @property
    def is_over(self) -> bool:
        """Whether too many referrers were found."""
        return self._listed > _MOST_REFERRERS

    def count(self, attached: Attached) -> None:
        """Count referrers before :meth:`receive`, so that the requests end early."""
        # A referrer has one subject, so one that is listed several times counts each time.
        with self._lock:
            self._listed += len(attached.entries)

    def receive(self, results: Mapping[Subject, LookupResult]) -> None:
        """Add the results for all :attr:`subjects`, and continue with the referrers that were found."""
        looked_up, found = self.subjects, list[str]()
        for subject in looked_up:
            result = results[self.where, subject]
            if isinstance(result, K8scrError):
                self.errors.append(result)
            elif result.count:
                self.attached.append(result)
                found += [entry["digest"] for entry in result.entries]
        self.subjects = self._new(found)
        if self.is_over:
            self.attached, self.subjects = [], []
            self.errors = [SourceError(f"more than {_MOST_REFERRERS} manifests in {self.where} refer to one image")]

    def _new(self, digests: Iterable[str]) -> list[str]:
        new = [digest for digest in dict.fromkeys(digests) if digest not in self._seen]
        self._seen.update(new)
        return new


def find_referrers(searches: Sequence[ReferrerSearch], connections: int) -> None:
    """Run searches, with at most ``connections`` requests at once. Each manifest of a source is looked up once."""
    sources: dict[str, Referrers] = {}
    for search in searches:
        sources.setdefault(search.where, remember(search.referrers))
    with ThreadPoolExecutor(connections) as workers:
        while wanted := _subjects_of(searches):
            results = dict(zip(wanted, workers.map(partial(_look_up, sources, wanted), wanted)))
            for search in searches:
                search.receive(results)


def _subjects_of(searches: Iterable[ReferrerSearch]) -> dict[Subject, list[ReferrerSearch]]:
    wanted: dict[Subject, list[ReferrerSearch]] = {}
    for search in searches:
        for digest in search.subjects:
            wanted.setdefault((search.where, digest), []).append(search)
    return wanted


def _look_up(
    sources: Mapping[str, Referrers], wanted: Mapping[Subject, Sequence[ReferrerSearch]], subject: Subject
) -> LookupResult:
    where, digest = subject
    if all(search.is_over for search in wanted[subject]):
        return Attached(digest, [], {})
    referrers = sources[where]
    try:
        entries = referrers.of(digest)
        tags = {tag: found for tag in cosign_tags(digest) if (found := referrers.tagged(tag))}
    except K8scrError as error:
        return error
    attached = Attached(digest, entries, tags)
    for search in wanted[subject]:
        search.count(attached)
    return attached


def _referrers_in(source: ImageSource) -> Referrers:
    if source.referrers is None:
        raise InputError(
            f"{source.description} cannot store referrers", "Use docker://, oci: or oci-archive: as the source"
        )
    return source.referrers
