# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entries of the option ``images``."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_entries import (
    PullEntry,
    SourceEntry,
    read_pull_entries,
    read_source_entries,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.platform import Platform
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ReferrersMode

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("oci:/x", SourceEntry("oci:/x")),
        ({"source": "oci:/x", "name": "app:1"}, SourceEntry("oci:/x", "app:1")),
        ({"source": "oci:/x", "name": None, "platforms": None, "referrers": None}, SourceEntry("oci:/x")),
        ({"source": "oci:/x", "referrers": "auto"}, SourceEntry("oci:/x", referrers=ReferrersMode.AUTO)),
        ({"source": "oci:/x", "referrers": True}, SourceEntry("oci:/x", referrers=ReferrersMode.ALWAYS)),
        ({"source": "oci:/x", "referrers": "true"}, SourceEntry("oci:/x", referrers=ReferrersMode.ALWAYS)),
        ({"source": "oci:/x", "referrers": "no"}, SourceEntry("oci:/x", referrers=ReferrersMode.NEVER)),
        ({"source": "oci:/x", "referrers": False}, SourceEntry("oci:/x", referrers=ReferrersMode.NEVER)),
        ({"source": "oci:/x", "platforms": "linux/amd64"}, SourceEntry("oci:/x", platforms=(AMD64,))),
        ({"source": "oci:/x", "platforms": "linux/amd64,linux/arm64"}, SourceEntry("oci:/x", platforms=(AMD64, ARM64))),
        ({"source": 7}, SourceEntry("7")),
    ],
)
def test_source_entry_is_converted_as_ansible_converts_options(entry: object, expected: SourceEntry) -> None:
    assert read_source_entries([entry]) == (expected,)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("app:1", PullEntry(parse_reference("app:1"), "docker-daemon:")),
        ({"name": "app:1", "dest": None}, PullEntry(parse_reference("app:1"), "docker-daemon:")),
        ({"name": "app:1", "dest": "oci:/x"}, PullEntry(parse_reference("app:1"), "oci:/x")),
        (
            {"name": "app:1", "referrers": "yes"},
            PullEntry(parse_reference("app:1"), "docker-daemon:", (), ReferrersMode.ALWAYS),
        ),
        (
            {"name": "app:1", "referrers": False},
            PullEntry(parse_reference("app:1"), "docker-daemon:", (), ReferrersMode.NEVER),
        ),
        (
            {"name": "app:1", "platforms": "linux/amd64"},
            PullEntry(parse_reference("app:1"), "docker-daemon:", (AMD64,)),
        ),
        ({"name": 7, "dest": "oci:/x"}, PullEntry(parse_reference("7"), "oci:/x")),
    ],
)
def test_pull_entry_is_converted_as_ansible_converts_options(entry: object, expected: PullEntry) -> None:
    assert read_pull_entries([entry]) == (expected,)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (None, "it is neither a string nor a dictionary"),
        (7, "it is neither a string nor a dictionary"),
        ([], "it is neither a string nor a dictionary"),
        ({}, "missing required arguments: source"),
        ({"name": "app:1"}, "missing required arguments: source"),
        ({"source": None}, "missing required arguments: source"),
        ({"source": "oci:/x", "nam": "y"}, "unknown keys: nam; known keys: source, name, platforms, referrers"),
        (
            {"source": "docker://x/y", "tags": {"new": 1}},
            r"unknown keys in tags: new; known keys: semver, match, exclude, newest, at_most\. Write",
        ),
        ({"source": "oci:/x", "nam": "y", 7: 8}, "unknown keys: nam, 7; known keys: source, name, "),
        ({"source": "oci:/x", "platforms": "linux"}, "'linux'"),
        ({"source": "oci:/x", "platforms": {"os": "linux"}}, "'platforms' is of type .*dict"),
        ({"source": "oci:/x", "referrers": "perhaps"}, "referrers is 'perhaps', which is not auto, true or false"),
        ({"source": "oci:/x", "referrers": ["auto"]}, r"referrers is \['auto'\], which is not auto, true or false"),
    ],
)
def test_source_entry_error_names_entry_and_reason(entry: object, reason: str) -> None:
    with pytest.raises(InputError, match=rf"^images\[1\] \(.*\) cannot be used: .*{reason}"):
        read_source_entries(["oci:/x", entry])


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (None, "it is neither a string nor a dictionary"),
        (7, "it is neither a string nor a dictionary"),
        ({}, "missing required arguments: name"),
        ({"dest": "oci:/x"}, "missing required arguments: name"),
        (
            {"name": "app", "dest": "oci:/x", "to": "y"},
            "unknown keys: to; known keys: name, dest, platforms, referrers",
        ),
        ({"name": "App:1"}, "App:1"),
    ],
)
def test_pull_entry_error_names_entry_and_reason(entry: object, reason: str) -> None:
    with pytest.raises(InputError, match=rf"^images\[2\] \(.*\) cannot be used: .*{reason}"):
        read_pull_entries(["app:1", "app:2", entry])


def test_entry_error_shortens_entry_and_gives_advice() -> None:
    with pytest.raises(InputError) as caught:
        read_source_entries([{"sauce": "x" * 1000}])

    assert len(caught.value.message) < 250
    assert caught.value.advice == "Write a source, or a dictionary with source, name, platforms, referrers, tags"
