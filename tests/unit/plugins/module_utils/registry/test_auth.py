# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The challenges of responses with status 401."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.auth import Challenge, parse_challenges
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", []),
        ('Basic realm="a registry"', [Challenge("basic", {"realm": "a registry"})]),
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (
            'bearer Realm = "https://a/token", service=registry , Basic realm="\\"quoted\\""',
            [
                Challenge("bearer", {"realm": "https://a/token", "service": "registry"}),
                Challenge("basic", {"realm": '"quoted"'}),
            ],
        ),
        ("Negotiate, Basic realm=x", [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        ('Bearer realm="unfinished', [Challenge("bearer", {"realm": '"unfinished'})]),
    ],
)
def test_parse_challenges_returns_schemes_and_parameters(header: str, challenges: list[Challenge]) -> None:
    assert parse_challenges(header) == challenges


@settings(deadline=None)
@given(st.text(st.sampled_from('Basic realm="\\,= \t\x00é/'), max_size=60))
def test_parse_challenges_accepts_any_text(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


def test_parse_challenges_reads_beginning_of_long_header() -> None:
    assert len(parse_challenges("a" * 70_000)) == 1
