# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tags that are versions, and their order."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.version_tag import parse_version
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "tags",
    [
        ("1", "1.2", "1.2.3", "1.2.10", "1.10", "2"),
        ("v1.9.0", "v1.10.0", "2.0"),
        ("1.24-alpine3.18", "1.25-alpine3.18", "1.25-alpine3.19"),
        ("2.0.0-rc.1", "2.0.0-rc.2", "2.0.0-rc.10"),
        ("1.0b1", "1.0b2", "1.1b1"),
        ("20251231", "20260130", "20260130-2"),
        ("202601301200", "202601301201"),
        ("9", "10", "999999"),
        ("1.2.3", "1.2.3-4-g4bcff63", "1.2.3-5-g0123456", "1.2.4"),
        ("1.2.3-debian-11-r9", "1.2.3-debian-12-r0", "1.2.4-debian-11-r0"),
        ("2026.01.05", "2026.1.6"),
        ("20260130-4bcff63", "20260131-0bcff63"),
    ],
)
def test_versions_have_numeric_order(tags: tuple[str, ...]) -> None:
    versions = [parse_version(tag) for tag in tags]

    assert all(versions)
    assert len({version.form for version in versions if version}) == 1
    orders = [version.order for version in versions if version]
    assert orders == sorted(orders)
    assert len(set(orders)) == len(orders)


@pytest.mark.parametrize(
    ("first", "second"), [("1.0", "v1"), ("1.0.0", "1"), ("1.2-RC1", "1.2-rc1"), ("2.0", "V2.0.0")]
)
def test_versions_are_equal_without_zeros_at_end(first: str, second: str) -> None:
    assert parse_version(first) == parse_version(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [("1.2.3", "1.2.3-alpine"), ("1.2-rc1", "1.2-beta1"), ("1.2-amd64", "1.2-arm64"), ("1.2", "1.2-debian-12-r5")],
)
def test_variants_of_version_have_different_forms(first: str, second: str) -> None:
    versions = parse_version(first), parse_version(second)

    assert versions[0]
    assert versions[1]
    assert versions[0].form != versions[1].form


@pytest.mark.parametrize(
    "tag",
    [
        "latest",
        "main-7",
        "4bcff63",
        "4f5a6b7",
        "1234567",
        "12345678",
        "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334",
        "1.2-4bcff63",
        "1.2-1234567",
        "v",
        "1.",
        "1..2",
        "2026x",
        "k8scr-012345678901",
        "99999999999999999999999",
    ],
)
def test_tag_without_order_is_not_version(tag: str) -> None:
    assert parse_version(tag) is None


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True))
def test_every_tag_is_version_or_not(tag: str) -> None:
    version = parse_version(tag)

    assert version is None or version == parse_version(tag.lower())
