# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The selection of tags."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.tag_selection import TagSelection
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.version_range import parse_ranges

_WHERE = "docker://registry.example.com/team/api"
_LISTS = json.loads((Path(__file__).parent / "tag_lists.json").read_text())
"""Tags of well-known repositories, shortened, with the tags to select and those that skopeo's ``images-by-semver``
selects with the same range. ``only_here`` and ``only_skopeo`` are the differences without ``match`` and ``newest``."""


def selection(
    semver: str | None = None,
    match: str | None = None,
    exclude: tuple[str, ...] = (),
    newest: int | None = None,
    at_most: int = 20,
) -> TagSelection:
    """Return a selection by the options of a user."""
    return TagSelection(
        parse_ranges(semver) if semver else (),
        re.compile(match) if match else None,
        tuple(map(re.compile, exclude)),
        newest,
        at_most,
    )


@pytest.mark.parametrize("repository", _LISTS, ids=[each["repository"] for each in _LISTS])
def test_selection_selects_tags_of_well_known_repository(repository: dict[str, Any]) -> None:
    found = selection(**repository["rules"]).select(repository["tags"].split(), _WHERE)

    assert " ".join(found.tags) == repository["selected"]
    assert dict(found.left_out) == repository["left_out"]


@pytest.mark.parametrize(
    "repository",
    [each for each in _LISTS if "skopeo" in each],
    ids=[each["repository"] for each in _LISTS if "skopeo" in each],
)
def test_selection_by_range_differs_from_skopeo_only_for_suffixes(repository: dict[str, Any]) -> None:
    rules = selection(semver=repository["rules"]["semver"], at_most=1000)

    try:
        found = set(rules.select(repository["tags"].split(), _WHERE).tags)
    except SourceError:
        found = set()

    expected = set(repository["skopeo"].split())
    assert " ".join(sorted(found - expected)) == repository["only_here"]
    assert " ".join(sorted(expected - found)) == repository["only_skopeo"]


def test_selection_is_independent_of_order_of_tags() -> None:
    tags = ["1.10.0", "1.9.0", "v1.10.0", "2.0.0", "1.2.0", "latest"]
    rules = selection(semver=">=1.2 <2", newest=2)

    assert rules.select(tags, _WHERE) == rules.select(reversed(tags), _WHERE)
    assert rules.select(tags, _WHERE).tags == ("1.10.0", "v1.10.0", "1.9.0")


def test_selection_matches_whole_tags_and_excludes_parts() -> None:
    tags = ["1.2.3", "1.2.3-debug", "1.2.3-slim-debug", "1.2.4-slim", "1.2.4-slim-x"]

    found = selection(match=r"\d+\.\d+\.\d+(-slim)?(-debug)?", exclude=("-debug$",)).select(tags, _WHERE)

    assert found.tags == ("1.2.4-slim", "1.2.3")
    assert found.left_out == {"unmatched": 3}


def test_selection_by_pattern_alone_selects_tags_without_versions() -> None:
    found = selection(match="(latest|stable|1.*)").select(["stable", "1.2", "latest", "edge", "1.10"], _WHERE)

    assert found.tags == ("1.10", "1.2", "latest", "stable")


@pytest.mark.parametrize(
    "tag",
    [
        f"sha256-{'0f' * 32}.sig",
        f"sha256-{'0f' * 32}",
        f"sha512-{'0f' * 64}.att",
        "k8scr-4bcff63911fc",
        "a" * 129,
        "with space",
        "../1.2",
        "",
    ],
)
def test_selection_never_selects_tag_of_referrers_or_invalid_tag(tag: str) -> None:
    found = selection(match="(?s).*").select([tag, "1.2"], _WHERE)

    assert found.tags == ("1.2",)


def test_selection_of_newest_leaves_out_shorter_names_of_versions() -> None:
    tags = ["1", "1.25", "1.24", "1.25.3", "1.25.2", "1.24.9", "1-alpine"]

    assert selection(newest=2).select(tags, _WHERE).tags == ("1.25.3", "1.25.2")
    assert selection(semver="1.25").select(tags, _WHERE).tags == ("1.25.3", "1.25.2", "1.25")
    assert selection(match=r"\d+\.\d+", newest=1).select(tags, _WHERE).tags == ("1.25",)


def test_selection_of_newest_counts_each_variant_alone() -> None:
    tags = ["1.2-alpine", "1.3-alpine", "1.4-alpine", "1.2-slim", "1.3-slim", "1.5"]

    assert selection(match=r".*-(alpine|slim)", newest=1).select(tags, _WHERE).tags == ("1.4-alpine", "1.3-slim")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"semver": ">=9"}, "3 are not versions, 1 are pre-releases, 1 have the suffix of a variant, 1 are out of"),
        ({"semver": ">=2"}, r"A bound such as >=1\.2\.0-0 in semver includes pre-releases"),
        ({"match": "v.*", "newest": 1}, "6 do not match the patterns"),
    ],
)
def test_selection_fails_without_selected_tag(rules: dict[str, Any], message: str) -> None:
    tags = ["latest", "main", "edge", "9.0.0-rc.1", "9.0-alpine", "1.0"]

    with pytest.raises(SourceError, match=message):
        selection(**rules).select(tags, _WHERE)


def test_selection_fails_for_repository_without_tags() -> None:
    with pytest.raises(SourceError, match=f"no tag of {_WHERE} is selected: it has no tags"):
        selection(newest=1).select([], _WHERE)


def test_selection_lists_tags_that_are_too_many() -> None:
    tags = [f"1.{number}" for number in range(300)]

    assert len(selection(newest=20).select(tags, _WHERE).tags) == 20
    with pytest.raises(SourceError, match=r"21 tags of .* at_most is 20: 1\.299, 1\.298, .*, 1\.279\. Select fewer"):
        selection(newest=21).select(tags, _WHERE)
    with pytest.raises(SourceError, match=r"300 tags of .* 1\.200 and 200 more\."):
        selection(semver="*").select(tags, _WHERE)


def test_selection_of_many_tags_takes_seconds() -> None:
    tags = [f"v1.{number // 100}.{number % 100}{'-rc.1' if number % 3 == 0 else ''}" for number in range(100_000)]

    assert selection(semver=">=1.2", newest=3).select(tags, _WHERE).tags == ("v1.999.98", "v1.999.97", "v1.999.95")
