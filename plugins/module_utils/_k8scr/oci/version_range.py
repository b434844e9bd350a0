# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ranges of versions, such as ``>=1.2 <2``, with the operators that Helm, npm and skopeo have.

They are comparisons, joined by spaces or commas, all of which a version must satisfy. ``||`` joins alternatives. A
bound may have fewer numbers than a version: the missing ones match any number, so that ``<=1.2`` includes 1.2.7.

A pre-release, such as 1.2.0-rc.1, satisfies a range only if a bound of it has a pre-release too, such as ``>=1.2.0-0``.
It is less than its release, but a bound without a pre-release excludes it together with its release: ``<2`` does not
include 2.0.0-rc.1. A bound
with the suffix of a variant, such as ``>=1.2-alpine``, includes only that variant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..errors import InputError
from .semantic_version import RELEASE, SemanticVersion, parse_semantic_version, without_zeros

_COMPARISON = re.compile(
    r"(?P<operator>>=|=>|<=|=<|==|!=|~>|[=><~^]?)"
    r"(?P<numbers>[vV]?(?:[0-9]{1,19}|[xX*])(?:\.(?:[0-9]{1,19}|[xX*])){0,7})"
    r"(?P<suffix>[-_][0-9A-Za-z][0-9A-Za-z._-]*)?(?:\+[0-9A-Za-z.-]*)?"
)
_SPACE_AFTER_OPERATOR = re.compile(r"(?<=[=><~^])\s+")
_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)")
_ALIASES = {"": "=", "==": "=", "=>": ">=", "=<": "<=", "~>": "~"}
_LONGEST = 1000
"""Characters of a range."""
_ANY_PRERELEASE = "-0"
_LOWEST_PRERELEASE = (0, ((0, 0, ""),))
_ADVICE = "Write comparisons such as >=1.2 <2, and join alternatives with ||"


@dataclass(frozen=True)
class Comparison:
    """A comparison of versions with one bound.

    Attributes:
        operator: One of ``>=``, ``<=``, ``=``, ``!=``, ``>`` and ``<``.
    """

    operator: str
    bound: SemanticVersion

    def accepts(self, version: SemanticVersion) -> bool:
        """Return whether a version satisfies the comparison."""
        if self.operator == "<":
            return self._is_less(version)
        if self.operator == ">=":
            return self._is_at_least(version)
        if self.operator in {"<=", ">"}:
            return self._is_at_most(version) == (self.operator == "<=")
        return (self._is_at_least(version) and self._is_at_most(version)) == (self.operator == "=")

    def _is_less(self, version: SemanticVersion) -> bool:
        if self.bound.is_prerelease:
            return not self._is_at_least(version)
        return (version.numbers, self._revision(version)) < (self.bound.numbers, self.bound.revision)

    def _is_at_least(self, version: SemanticVersion) -> bool:
        return (version.numbers, version.prerelease, self._revision(version)) >= self.bound.order

    def _is_at_most(self, version: SemanticVersion) -> bool:
        if self.bound.is_prerelease:
            return (version.numbers, version.prerelease, self._revision(version)) <= self.bound.order
        numbers = without_zeros(version.first(self.bound.parts))
        return (numbers, self._revision(version)) <= (self.bound.numbers, self.bound.revision)

    def _revision(self, version: SemanticVersion) -> tuple[int, ...]:
        """Return the numbers of a version's suffix that the bound has too."""
        return version.revision[: len(self.bound.revision)]


@dataclass(frozen=True)
class VersionRange:
    """Comparisons, all of which a version must satisfy.

    Attributes:
        prereleases: Whether it includes pre-releases.
        variant: The only variant that it includes; empty if its bounds name none.
    """

    comparisons: tuple[Comparison, ...]
    prereleases: bool
    variant: str

    def accepts(self, version: SemanticVersion) -> bool:
        """Return whether a version satisfies all comparisons, regardless of the kind of its suffix."""
        return all(comparison.accepts(version) for comparison in self.comparisons)


def parse_ranges(text: str) -> tuple[VersionRange, ...]:
    """Return the alternatives of a text, one of which a version must satisfy.

    Raises:
        InputError: The text is not a range of versions.
    """
    if len(text) > _LONGEST:
        raise InputError(f"the range of versions {text[:80]!r}… has more than {_LONGEST} characters", _ADVICE)
    return tuple(_parse_range(part.strip(), text) for part in text.split("||"))


def _parse_range(part: str, text: str) -> VersionRange:
    spaced = _HYPHEN.sub(r">=\1 <=\2", part.replace(",", " "))
    words = _SPACE_AFTER_OPERATOR.sub("", spaced).split()
    comparisons = tuple(comparison for word in words for comparison in _parse_comparison(word, text))
    if not comparisons:
        raise InputError(f"the range of versions {text!r} has an empty part", _ADVICE)
    variants = sorted({comparison.bound.variant for comparison in comparisons} - {""})
    if len(variants) > 1:
        raise InputError(f"the range of versions {text!r} has the suffixes {' and '.join(variants)}", _ADVICE)
    prereleases = any(comparison.bound.is_prerelease for comparison in comparisons)
    return VersionRange(comparisons, prereleases, "".join(variants))


def _parse_comparison(word: str, text: str) -> Iterator[Comparison]:
    match = _COMPARISON.fullmatch(word)
    operator = _ALIASES.get(match["operator"], match["operator"]) if match else ""
    bound = _bound(match["numbers"], match["suffix"] or "", operator) if match else None
    if bound is None:
        raise InputError(f"{word!r} in the range of versions {text!r} is not a comparison with a version", _ADVICE)
    if operator not in {"~", "^"}:
        yield Comparison(operator, bound)
        return
    kept = min(bound.parts, 2)
    if operator == "^":
        numbers = bound.first(bound.parts)
        kept = next((index + 1 for index, number in enumerate(numbers) if number), bound.parts)
    highest = without_zeros(bound.first(kept))
    yield Comparison(">=", bound)
    yield Comparison("<=", SemanticVersion(highest, kept, RELEASE, "", ()))


def _bound(numbers: str, suffix: str, operator: str) -> SemanticVersion | None:
    """Return a bound; ``None`` if it is not a version. Wildcards are numbers that the bound does not have."""
    known: list[str] = []
    for number in numbers.lstrip("vV").split("."):
        if number in {"x", "X", "*"}:
            break
        known.append(number)
    if not known:
        return None if suffix else SemanticVersion((), 0, RELEASE, "", ())
    is_lowest = suffix == _ANY_PRERELEASE and operator != "="
    version = parse_semantic_version(f"{'.'.join(known)}{'' if is_lowest else suffix}")
    if version is None:
        # An undotted number of many digits may be a hash as a tag, but not as a bound.
        parsed = None if suffix else parse_semantic_version(f"{'.'.join(known)}.0")
        version = replace(parsed, parts=len(known)) if parsed else None
    return replace(version, prerelease=_LOWEST_PRERELEASE) if version and is_lowest else version
