# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The expected result of a prune, computed from the stored tags and the rules without code of the collection."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping
from dataclasses import dataclass

OWN_TAG = "k8scr-"
"""Beginning of the tags that keep images without other tags."""
_FALLBACK_TAG = "sha256-"


@dataclass(frozen=True)
class Use:
    """An image that a workload uses.

    Attributes:
        repository: Repository of the image.
        tag: Tag of the image, if the workload names one.
        digest: Digest of the image, if the workload or its status has one.
    """

    repository: str
    tag: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Rules:
    """The rules of a prune: an image stays if one of them keeps it.

    Attributes:
        patterns: Shell patterns of repositories, whose tagged images are kept.
        uses: The used images.
        locked: Locked images, as repository and digest.
    """

    patterns: tuple[str, ...]
    uses: tuple[Use, ...]
    locked: frozenset[tuple[str, str]]

    def keep(self, repository: str, digest: str, tags: Collection[str]) -> bool:
        """Return whether a rule keeps an image.

        Args:
            repository: Repository of the image.
            digest: Digest of the image.
            tags: All tags of the image.
        """
        return (
            (bool(tags) and any(fnmatch.fnmatchcase(repository, pattern) for pattern in self.patterns))
            or (repository, digest) in self.locked
            or any(_is_used(use, repository, digest, tags) for use in self.uses)
        )


@dataclass(frozen=True)
class StoredRepository:
    """A repository in the registry's storage.

    Attributes:
        tags: Digests by tag.
        manifests: Digests of all manifests.
        children: Digests of the manifests to which an index of the repository refers.
    """

    tags: Mapping[str, str]
    manifests: frozenset[str] = frozenset()
    children: frozenset[str] = frozenset()

    def images(self) -> dict[str, tuple[str, ...]]:
        """Return the tags of each image by digest; referrers and manifests of an index are not images of their own."""
        found: dict[str, tuple[str, ...]] = dict.fromkeys(
            self.manifests - self.children - set(self._referrer_tags.values()), ()
        )
        for tag, digest in sorted(self.tags.items()):
            if tag not in self._referrer_tags:
                found[digest] = (*found.get(digest, ()), tag)
        return found

    def referrers(self, digest: str) -> str | None:
        """Return the digest of the index of an image's referrers."""
        return self.tags.get(digest.replace(":", "-"))

    @property
    def _referrer_tags(self) -> dict[str, str]:
        return {tag: digest for tag, digest in self.tags.items() if tag.startswith(_FALLBACK_TAG)}


@dataclass(frozen=True)
class Expectation:
    """The images after a prune, as repository and digest.

    Attributes:
        kept: The images that must stay.
        referrers: The indexes of referrers that must stay with them.
        gone: The images that must be deleted.
    """

    kept: frozenset[tuple[str, str]]
    referrers: frozenset[tuple[str, str]]
    gone: frozenset[tuple[str, str]]


def expect(repositories: Mapping[str, StoredRepository], rules: Rules) -> Expectation:
    """Return the images that must stay and those that must be deleted.

    Args:
        repositories: The repositories before the prune.
        rules: The rules of the prune.
    """
    kept, referrers, gone = set(), set(), set()
    for name, repository in repositories.items():
        for digest, tags in repository.images().items():
            if rules.keep(name, digest, tags):
                kept.add((name, digest))
                index = repository.referrers(digest)
                referrers |= {(name, index)} if index else set()
            else:
                gone.add((name, digest))
    return Expectation(frozenset(kept), frozenset(referrers), frozenset(gone))


def _is_used(use: Use, repository: str, digest: str, tags: Collection[str]) -> bool:
    return use.repository == repository and (digest == use.digest or (use.tag is not None and use.tag in tags))
