# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions in tags as semantic versioning orders them."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.semantic_version import parse_semantic_version


@pytest.mark.parametrize(
    "tags",
    [
        ("1.2.0-alpha", "1.2.0-alpha.1", "1.2.0-beta.2", "1.2.0-rc.1", "1.2.0-rc.10", "1.2.0", "1.2.1-rc.1"),
        ("3.14.0a3", "3.14.0a10", "3.14.0b1", "3.14.0rc2", "3.14.0"),
        ("8.0-M01", "8.0-M02", "8.0-rc1", "8.0.0"),
        ("2026-01-30", "2026-02-01", "2026-02-01-2"),
        ("3.5.9-0", "3.5.10-0", "3.5.10-1"),
        ("4.0.12.2823", "4.0.13", "4.0.13.2932"),
        ("1.2.3_build.5", "1.2.3_build.10", "1.2.4_build.1"),
    ],
)
def test_semantic_versions_are_ordered_with_prereleases_before_releases(tags: tuple[str, ...]) -> None:
    versions = [version for version in map(parse_semantic_version, tags) if version]

    assert len(versions) == len(tags)
    assert {version.variant for version in versions} == {""}
    orders = [version.order for version in versions]
    assert orders == sorted(orders)
    assert len(set(orders)) == len(orders)


@pytest.mark.parametrize("tag", ["1.2.3-rc.1", "1.2.3rc1", "1.0b1", "v1.2.3-SNAPSHOT", "1.2-dev_build.5", "3.0-M2"])
def test_semantic_version_is_prerelease_with_word_of_prerelease(tag: str) -> None:
    version = parse_semantic_version(tag)

    assert version
    assert version.is_prerelease
    assert version.variant == ""


@pytest.mark.parametrize(
    ("tag", "variant"),
    [
        ("1.2.3", ""),
        ("1.2.3.Final", ""),
        ("1.2.3_up0.5.0", ""),
        ("1.1.1a", "a"),
        ("1.2.3-alpine3.19", "alpine"),
        ("1.2.3-debian-12-r5", "debian-r"),
        ("1.2.3_amd64", "amd"),
        ("1.2.3_x86_64", "x"),
        ("17.0.14_7-jre-alpine", "jre-alpine"),
        ("1.2.3-5-g4bcff63", "commit"),
        ("20260130-4bcff63", "commit"),
    ],
)
def test_semantic_version_has_words_of_variant(tag: str, variant: str) -> None:
    version = parse_semantic_version(tag)

    assert version
    assert version.variant == variant
    assert not version.is_prerelease


@pytest.mark.parametrize("tag", ["latest", "main-7", "1.2-4bcff63", "_1.2", "k8scr-012345678901", "2026x"])
def test_semantic_version_is_unknown_for_tag_without_order(tag: str) -> None:
    assert parse_semantic_version(tag) is None
