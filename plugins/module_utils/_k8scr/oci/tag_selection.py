# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The selection of tags of one repository: by versions, patterns and number.

Patterns come from users and tags from registries. Python does not limit the time of a pattern with nested repetitions,
such as ``(a+)+``, but only tags of valid length and characters are compared.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..errors import SourceError
from .digest_tag import is_digest_tag
from .reference import is_tag
from .semantic_version import RELEASE, SemanticVersion, parse_semantic_version
from .version_range import VersionRange

_MOST_NAMES = 100
"""Tags in one message."""
_REFERRERS_TAG = re.compile(r"sha(?:256|512)-[0-9a-f]{64,128}(?:\..*)?")
"""The tags that cosign and the specification's referrers tag schema derive from digests."""

_UNMATCHED = "unmatched"
_UNVERSIONED = "unversioned"
_PRERELEASE = "prereleases"
_VARIANT = "variants"
_OUT_OF_RANGE = "out_of_range"
_SHORTER = "shorter"
_OLDER = "older"
_REASONS = {
    _UNMATCHED: "do not match the patterns",
    _UNVERSIONED: "are not versions",
    _PRERELEASE: "are pre-releases",
    _VARIANT: "have the suffix of a variant",
    _OUT_OF_RANGE: "are out of the range",
    _SHORTER: "are shorter names of other versions",
    _OLDER: "are older",
}
"""Why tags are left out, in messages."""
_ADVICE = {
    _PRERELEASE: "A bound such as >=1.2.0-0 in semver includes pre-releases",
    _VARIANT: "Set match to select the suffix of a variant",
    _UNVERSIONED: "Set match without semver and newest to select tags that are not versions",
}


@dataclass(frozen=True)
class SelectedTags:
    """The tags of one repository that were selected.

    Attributes:
        tags: The selected tags, the newest version first, and tags without a version in the order of their names.
        left_out: The number of the other tags, by the reason: ``unmatched``, ``unversioned``, ``prereleases``,
            ``variants``, ``out_of_range``, ``shorter`` or ``older``.
    """

    tags: tuple[str, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class TagSelection:
    """The rules that select tags; a rule that is not set selects all.

    Attributes:
        ranges: Alternatives, one of which a version must satisfy.
        match: What a whole tag must match. It also selects variants, such as ``1.2.3-alpine``.
        exclude: What no part of a tag may match.
        newest: The number of newest versions of each variant.
        at_most: The largest number of tags; more are an error.
    """

    ranges: tuple[VersionRange, ...] = ()
    match: re.Pattern[str] | None = None
    exclude: tuple[re.Pattern[str], ...] = ()
    newest: int | None = None
    at_most: int = 20

    def select(self, tags: Iterable[str], where: str) -> SelectedTags:
        """Select tags of a repository.

        Args:
            where: The repository in messages.

        Raises:
            SourceError: No tag is selected, or too many are.
        """
        left_out: Counter[str] = Counter()
        candidates: list[str] = []
        for tag in sorted(set(tags)):
            reason = self._reason_against_name(tag)
            left_out.update([reason] if reason else [])
            if not reason:
                candidates.append(tag)
        if self.ranges or self.newest:
            selected = self._select_versions(candidates, left_out)
        else:
            versions = {tag: parse_semantic_version(tag) for tag in candidates}
            selected = [*_newest_first({tag: version for tag, version in versions.items() if version})]
            selected += [tag for tag, version in versions.items() if not version]
        found = SelectedTags(tuple(selected), {reason: left_out[reason] for reason in _REASONS if left_out[reason]})
        self._check(found, where)
        return found

    def _reason_against_name(self, tag: str) -> str:
        if not is_tag(tag) or is_digest_tag(tag) or _REFERRERS_TAG.fullmatch(tag):
            return _UNVERSIONED
        matches = not self.match or self.match.fullmatch(tag)
        return "" if matches and not any(pattern.search(tag) for pattern in self.exclude) else _UNMATCHED

    def _select_versions(self, candidates: Iterable[str], left_out: Counter[str]) -> list[str]:
        versions: dict[str, SemanticVersion] = {}
        for tag in candidates:
            version = parse_semantic_version(tag)
            reason = self._reason_against(version) if version else _UNVERSIONED
            left_out.update([reason] if reason else [])
            if version and not reason:
                versions[tag] = version
        return _newest_first(self._newest(versions, left_out))

    def _reason_against(self, version: SemanticVersion) -> str:
        """Return why a version is not selected; empty if it is."""
        reasons = [self._reason_against_in(version, each) for each in self.ranges or (None,)]
        return "" if "" in reasons else reasons[0]

    def _reason_against_in(self, version: SemanticVersion, versions: VersionRange | None) -> str:
        excluded = version.is_prerelease and not (versions and versions.prereleases)
        release = replace(version, prerelease=RELEASE) if excluded else version
        if versions and not versions.accepts(release):
            return _OUT_OF_RANGE
        if excluded:
            return _PRERELEASE
        wanted = versions.variant if versions else ""
        is_wanted = version.variant == wanted or (not wanted and self.match is not None)
        return "" if is_wanted else _VARIANT

    def _newest(self, versions: Mapping[str, SemanticVersion], left_out: Counter[str]) -> dict[str, SemanticVersion]:
        """Return the newest versions of each variant; several tags of the same version count as one."""
        if self.newest is None:
            return dict(versions)
        groups: dict[str, dict[str, SemanticVersion]] = defaultdict(dict)
        for tag, version in versions.items():
            groups[version.variant][tag] = version
        kept: dict[str, SemanticVersion] = {}
        for group in groups.values():
            full = _without_shorter(group)
            orders = sorted({version.order for version in full.values()}, reverse=True)[: self.newest]
            newest = {tag: version for tag, version in full.items() if version.order >= orders[-1]}
            left_out[_SHORTER] += len(group) - len(full)
            left_out[_OLDER] += len(full) - len(newest)
            kept.update(newest)
        return kept

    def _check(self, found: SelectedTags, where: str) -> None:
        if not found.tags:
            counts = ", ".join(f"{count} {_REASONS[reason]}" for reason, count in found.left_out.items())
            advice = next((_ADVICE[reason] for reason in _ADVICE if found.left_out.get(reason)), None)
            raise SourceError(
                f"no tag of {where} is selected: {f'of its tags, {counts}' if counts else 'it has no tags'}",
                advice or "Check the repository and the rules in tags",
            )
        if len(found.tags) > self.at_most:
            names = ", ".join(found.tags[:_MOST_NAMES])
            more = f" and {len(found.tags) - _MOST_NAMES} more" if len(found.tags) > _MOST_NAMES else ""
            raise SourceError(
                f"{len(found.tags)} tags of {where} are selected, and at_most is {self.at_most}: {names}{more}",
                "Select fewer, for example with newest, or raise at_most",
            )


def _without_shorter(versions: Mapping[str, SemanticVersion]) -> dict[str, SemanticVersion]:
    """Return versions without the tags that name the newest of several longer ones, as ``1.25`` names ``1.25.3``."""
    prefixes = {
        version.first(count)
        for version in versions.values()
        if not version.is_prerelease
        for count in range(1, version.parts)
    }
    return {
        tag: version
        for tag, version in versions.items()
        if version.is_prerelease or version.first(version.parts) not in prefixes
    }


def _newest_first(versions: Mapping[str, SemanticVersion]) -> list[str]:
    """Return tags by their versions, the newest first; those of the same version in the order of their names."""
    return sorted(sorted(versions), key=lambda tag: versions[tag].order, reverse=True)
