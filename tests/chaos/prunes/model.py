# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The expected result of a prune, computed from the stored tags and the rules without code of the collection."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

_OWN_TAG = "k8scr-"
"""Beginning of the tags that keep images without other tags."""
_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*")
_FALLBACK_TAG = "sha256-"


@dataclass(frozen=True)
class Use:
    """An image that a workload uses or that a lock file has.

    Attributes:
        repository: Repository of the image.
        tag: Tag of the image, if it is used by its tag.
        digest: Digest of the image, if it is used by its digest.
    """

    repository: str
    tag: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Rules:
    """The rules of a prune: a tag stays if one of them keeps it.

    Attributes:
        patterns: Shell patterns of repositories.
        uses: The used images.
        locked: The locked images; all of them still have the tag by which they are locked, if any.
        last: Number of newest versions to keep in each repository; 0 if the rule is not set.
    """

    patterns: tuple[str, ...]
    uses: tuple[Use, ...]
    locked: tuple[Use, ...] = ()
    last: int = 0

    def keep_whole(self, repository: str) -> bool:
        """Return whether a pattern keeps all tags of a repository."""
        return any(fnmatch.fnmatchcase(repository, pattern) for pattern in self.patterns)

    def kept_tags(self, repository: str, digest: str, tags: Collection[str]) -> set[str]:
        """Return the tags of an image that rules keep for themselves or for the digest.

        Args:
            repository: Repository of the image.
            digest: Digest of the image.
            tags: All tags of the image; the empty tag if it has none.
        """
        if self.keep_whole(repository):
            # No API lists images without tags, so a pattern does not find them.
            return set(tags) - {""}
        mine = [use for use in (*self.uses, *self.locked) if use.repository == repository]
        if any(use.tag is None and use.digest == digest for use in mine):
            return set(tags)
        return {use.tag for use in mine if use.tag in tags and use.tag}


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
            self.manifests - self.children - set(self.referrer_tags.values()), ()
        )
        for tag, digest in sorted(self.tags.items()):
            if tag not in self.referrer_tags:
                found[digest] = (*found.get(digest, ()), tag)
        return found

    @property
    def referrer_tags(self) -> dict[str, str]:
        """The digests of the indexes of referrers by tag, also of those whose image does not exist."""
        return {tag: digest for tag, digest in self.tags.items() if tag.startswith(_FALLBACK_TAG)}


@dataclass(frozen=True)
class Expectation:
    """The registry after a prune.

    Attributes:
        kept: The images that must stay, as repository and digest.
        referrers: The indexes of referrers that must stay with them, as repository and digest.
        gone: The images that must be deleted, as repository and digest.
        kept_tags: The tags that must stay, as repository and tag; those of referrers included.
        gone_tags: The tags that must be deleted, as repository and tag.
    """

    kept: frozenset[tuple[str, str]]
    referrers: frozenset[tuple[str, str]]
    gone: frozenset[tuple[str, str]]
    kept_tags: frozenset[tuple[str, str]]
    gone_tags: frozenset[tuple[str, str]]


def expect(repositories: Mapping[str, StoredRepository], rules: Rules) -> Expectation:
    """Return the images and tags that must stay and those that must be deleted.

    Args:
        repositories: The repositories before the prune.
        rules: The rules of the prune.
    """
    kept, referrers, gone, kept_tags, tags = set(), set(), set(), set(), set()
    for name, repository in repositories.items():
        images = repository.images()
        last = _last_versions(images, rules.last)
        tags |= {(name, tag) for tag in repository.tags}
        for digest, of_image in images.items():
            mine = rules.kept_tags(name, digest, of_image or ("",)) | set(of_image if digest in last else ())
            if not mine:
                gone.add((name, digest))
                continue
            kept.add((name, digest))
            kept_tags |= {(name, tag) for tag in mine if tag}
        subjects = {fallback_tag(digest) for digest in images if (name, digest) in kept}
        for tag, index in repository.referrer_tags.items():
            # A pattern keeps all tags of its repositories, also those of referrers without an image.
            if tag in subjects or rules.keep_whole(name):
                referrers.add((name, index))
                kept_tags.add((name, tag))
    sets = map(frozenset, (kept, referrers, gone, kept_tags, tags - kept_tags))
    return Expectation(*sets)


def fallback_tag(digest: str) -> str:
    """Return the tag of the index of an image's referrers."""
    return digest.replace(":", "-")


def _last_versions(images: Mapping[str, Sequence[str]], last: int) -> set[str]:
    """Return the digests of the last versions, and of images with other tags, whose order is unknown."""
    versions: dict[str, tuple[int, ...]] = {}
    unordered = set()
    for digest, tags in images.items():
        found = [tuple(map(int, tag.split("."))) for tag in tags if _VERSION.fullmatch(tag)]
        if found:
            versions[digest] = max(found)
        elif any(not tag.startswith(_OWN_TAG) for tag in tags):
            unordered.add(digest)
    newest = sorted(versions, key=lambda digest: versions[digest], reverse=True)[:last]
    return {*newest, *unordered} if last else set()
