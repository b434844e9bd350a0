# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ranges of versions."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.semantic_version import parse_semantic_version
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.version_range import parse_ranges
from hypothesis import given
from hypothesis import strategies as st


def accepts(text: str, tag: str) -> bool:
    """Return whether a range accepts the version of a tag."""
    version = parse_semantic_version(tag)
    assert version
    return any(each.accepts(version) and (each.prereleases or not version.is_prerelease) for each in parse_ranges(text))


@pytest.mark.parametrize(
    ("text", "accepted", "rejected"),
    [
        (">=1.2 <2", "1.2 1.2.0 v1.9.9 1.10", "1.1.9 2 2.0.0"),
        (">= 1.2, < 2", "1.2.0 1.9", "2.0.0 1.1"),
        ("=>1.2 =<1.4", "1.2 1.4.9", "1.5"),
        ("1.2", "1.2 1.2.0 1.2.9", "1.3 1.1.9 2"),
        ("==1.2.3", "1.2.3 v1.2.3 1.2.3.4", "1.2.4 1.2"),
        ("!=1.2.3", "1.2.4 1.2", "1.2.3"),
        ("!=1.2", "1.3", "1.2.3 1.2"),
        (">1.2", "1.3 1.3.0", "1.2 1.2.7"),
        (">1.2.0", "1.2.1", "1.2.0 1.2"),
        ("<=1.2", "1.2 1.2.7 1.1", "1.3"),
        ("<1.2.3.4", "1.2.3 1.2.3.3", "1.2.3.4"),
        ("1.x", "1.0 1.99.1", "2 0.9"),
        ("1.2.*", "1.2.0 1.2.7", "1.3"),
        ("*", "0 1.2.3 2026.1", ""),
        ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3"),
        ("~>1.2", "1.2 1.2.9", "1.3"),
        ("~1", "1 1.9", "2"),
        ("^1.2.3", "1.2.3 1.9", "1.2.2 2"),
        ("^0.2.3", "0.2.3 0.2.9", "0.3 0.2.2"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("^0", "0.1 0.9.9", "1"),
        ("1.2 - 1.4", "1.2 1.4.9", "1.5 1.1"),
        ("<1 || >=2.1 <3", "0.9 2.1 2.9", "1 2.0 3"),
        (">=2026.01", "2026.1.15 2026-02-01", "2025.12.31"),
        (">=20260130", "20260130 20260131", "20260129"),
        (">=1.2.0-0 <2", "1.2.0-alpha 1.2.0 1.9.0-rc.1", "2.0.0-rc.1 1.1.0-rc.1 2"),
        ("~1.2.0-rc.2", "1.2.0-rc.2 1.2.0-rc.10 1.2.0 1.2.5", "1.2.0-rc.1 1.3.0-rc.1"),
        (">1.2.0-rc.1", "1.2.0-rc.2 1.2.0", "1.2.0-rc.1 1.2.0-beta.9"),
        ("<1.2.0-rc.2", "1.2.0-rc.1 1.1", "1.2.0-rc.2 1.2.0"),
        ("=1.2.0-rc.1", "1.2.0-rc.1", "1.2.0 1.2.0-rc.2"),
        ("=3.5.9-0", "3.5.9-0", "3.5.9-1"),
        (">=1.2", "1.2", "1.3.0-rc.1 1.2.0-rc.1"),
        (">=1.31.2-k3s2", "1.31.2-k3s2 1.31.2-k3s10 1.32.0-k3s1", "1.31.2-k3s1"),
        (">=v1.2.3+build.5", "1.2.3", "1.2.2"),
    ],
)
def test_range_accepts_versions(text: str, accepted: str, rejected: str) -> None:
    assert [tag for tag in accepted.split() if not accepts(text, tag)] == []
    assert [tag for tag in rejected.split() if accepts(text, tag)] == []


def test_range_names_variant_of_bound() -> None:
    (versions,) = parse_ranges(">=1.2-alpine <2")

    assert versions.variant == "alpine"
    assert not versions.prereleases


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has an empty part"),
        (">=1 ||", "has an empty part"),
        ("latest", "'latest' in the range of versions 'latest' is not a comparison"),
        (">=1.2 <", "'<' in the range of versions"),
        (">=1.2 < two", "'<two' in the range"),
        (">=1.2-4bcff63", "is not a comparison with a version"),
        ("x-rc.1", "is not a comparison with a version"),
        (">=1.2-alpine <2-bookworm", "has the suffixes alpine and bookworm"),
        (">=1" * 1000, "has more than 1000 characters"),
    ],
)
def test_range_is_rejected(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_ranges(text)


@given(st.text(alphabet="0123456789.xX*vV-_+<>=!~^|, abrc\u0660", max_size=60))
def test_range_is_parsed_or_rejected_for_any_text(text: str) -> None:
    version = parse_semantic_version("1.2.3-rc.1-alpine")
    assert version

    try:
        ranges = parse_ranges(text)
    except InputError:
        return

    assert all(each.accepts(version) in {True, False} for each in ranges)
