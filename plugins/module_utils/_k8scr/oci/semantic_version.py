# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions in tags as semantic versioning orders them: releases, pre-releases and build metadata.

Semantic versioning takes each suffix after a hyphen for a pre-release. In tags, most suffixes name a variant of a
release, such as ``1.2.3-alpine``. The words of a suffix tell the two apart. A tag cannot contain ``+``: an underscore
takes its place, as for charts of Helm.
"""

from __future__ import annotations

from dataclasses import dataclass

from .decimal import parse_decimal
from .version_tag import parse_suffix, parse_version

_PRERELEASES = frozenset(
    [
        "alpha",
        "beta",
        "canary",
        "cr",
        "dev",
        "devel",
        "develop",
        "development",
        "ea",
        "edge",
        "experimental",
        "insiders",
        "milestone",
        "nightly",
        "pre",
        "prerelease",
        "preview",
        "rc",
        "snapshot",
        "test",
        "testing",
        "unstable",
    ]
)
_PRERELEASES_WITH_NUMBER = frozenset("abcm")
"""Letters that mark a pre-release before a number, as in ``1.0b1`` and ``3.0.0-M2``, but not in ``1.1.1a``."""
_RELEASES = frozenset(["final", "ga", "release"])
_ARCHITECTURES = frozenset(
    ["aarch", "amd", "arm", "armhf", "armv", "i", "loong", "loongarch", "mips", "ppc", "ppcle", "riscv", "s", "x"]
)
"""The words of architectures without their numbers."""
_COMMIT_VARIANT = "commit"

PrereleaseOrder = tuple[int, tuple[tuple[int, int, str], ...]]
"""The order of a pre-release before its release: 0 and its identifiers, or 1 for a release."""
RELEASE: PrereleaseOrder = (1, ())


@dataclass(frozen=True)
class SemanticVersion:
    """A version.

    Attributes:
        numbers: The numbers of the version, without zeros at the end.
        parts: How many numbers the tag has.
        prerelease: The order of the pre-release.
        variant: The words of the suffix that are no pre-release, such as ``alpine``; empty for a release.
        revision: The other numbers of the suffix: of a variant, of a build, or of build metadata.
    """

    numbers: tuple[int, ...]
    parts: int
    prerelease: PrereleaseOrder
    variant: str
    revision: tuple[int, ...]

    @property
    def is_prerelease(self) -> bool:
        """Whether it precedes a release."""
        return self.prerelease != RELEASE

    @property
    def order(self) -> tuple[tuple[int, ...], PrereleaseOrder, tuple[int, ...]]:
        """The order among the versions of one variant."""
        return self.numbers, self.prerelease, self.revision

    def first(self, count: int) -> tuple[int, ...]:
        """Return the first numbers, with zeros for missing ones."""
        return first_numbers(self.numbers, count)


def parse_semantic_version(tag: str) -> SemanticVersion | None:
    """Return the version of a tag; ``None`` if its order is unknown, as :func:`.version_tag.parse_version` defines."""
    head, underscore, metadata = tag.partition("_")
    version = parse_version(head) if underscore else None
    if version is None:
        version, metadata = parse_version(tag), ""
    if version is None:
        return None
    prerelease, words, revision = _read_tokens(version.tokens)
    if metadata:
        more_words, more_numbers = _read_metadata(metadata)
        words, revision = (*words, *more_words), (*revision, *more_numbers)
    if version.has_commit:
        words = (*words, _COMMIT_VARIANT)
    numbers = version.order[0]
    parts = version.parts
    if parts == 1 and revision and not words and not prerelease:
        # A date with hyphens, such as 2026-01-30.
        numbers, revision = without_zeros((*numbers, *revision)), ()
        parts = len(numbers)
    return SemanticVersion(numbers, parts, (0, prerelease) if prerelease else RELEASE, "-".join(words), revision)


def first_numbers(numbers: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return the first numbers of a version, with zeros for missing ones."""
    return (*numbers, *(0,) * count)[:count]


def without_zeros(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """Return the numbers of a version without zeros at the end, except for version 0."""
    count = len(numbers)
    while count > 1 and numbers[count - 1] == 0:
        count -= 1
    return numbers[:count]


def _read_tokens(
    tokens: tuple[str, ...],
) -> tuple[tuple[tuple[int, int, str], ...], tuple[str, ...], tuple[int, ...]]:
    """Return the identifiers of the pre-release, the words of the variant and the other numbers of a suffix."""
    prerelease: list[tuple[int, int, str]] = []
    words: list[str] = []
    revision: list[int] = []
    in_prerelease = False
    for token, following in zip(tokens, (*tokens[1:], "")):
        if token.isalpha():
            before_number = token in _PRERELEASES_WITH_NUMBER and following.isdigit()
            in_prerelease = token in _PRERELEASES or before_number
            if in_prerelease:
                prerelease.append((1, 0, token))
            elif token not in _RELEASES:
                words.append(token)
        elif in_prerelease:
            # Semantic versioning orders numbers before words.
            prerelease.append((0, parse_decimal(token) or 0, ""))
        else:
            revision.append(parse_decimal(token) or 0)
    return tuple(prerelease), tuple(words), tuple(revision)


def _read_metadata(metadata: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the words and the numbers of build metadata.

    Only architectures, and words after a hyphen, name a variant: ``1.2.3_amd64`` and ``17.0.1_12-jdk`` are variants of
    releases, and ``1.2.3_build.5`` is a release.
    """
    build, _hyphen, suffix = metadata.partition("-")
    tokens = parse_suffix(build)[0]
    words = tuple(token for token in tokens if token in _ARCHITECTURES)
    numbers = tuple(parse_decimal(token) or 0 for token in tokens if token.isdigit() and not words)
    return (*words, *(token for token in parse_suffix(suffix)[0] if token.isalpha())), numbers
