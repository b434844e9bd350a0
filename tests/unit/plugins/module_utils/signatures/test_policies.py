# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first policy that matches the full name of an image decides."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.signatures.policy import Policy, find_policy


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "busybox", True),
        ("docker.io/library/*", "busybox", True),
        ("busybox", "busybox", False),
        ("registry.example.com/team/*", "registry.example.com/team/sub/app:1.2", True),
        ("registry.example.com/team/*", "registry.example.com/teams/app:1.2", False),
        ("registry.example.com/team/*", "evil.example.com/registry.example.com/team/app", False),
        ("registry.example.com/team/app", "registry.example.com/team/app:1.2", True),
        ("registry.example.com/team/app:1.*", "registry.example.com/team/app:1.2", True),
        ("registry.example.com/team/app:1.*", "registry.example.com/team/app:2.1", False),
        ("registry.example.com:5000/*", "registry.example.com:5000/app", True),
        ("registry.example.com/*", "registry.example.com:5000/app", False),
        ("registry.example.com/team/app", f"registry.example.com/team/app@sha256:{'a' * 64}", True),
        ("REGISTRY.example.com/*", "registry.example.com/app", False),
        ("registry.example.com/[ab]pp", "registry.example.com/app", True),
        ("registry.example.com/team/*", "Registry.Example.com/team/app:1", True),
        ("registry.example.com/team/*", "docker.io/registry.example.com/team/app", False),
    ],
)
def test_policy_matches_full_name_with_or_without_tag(pattern: str, name: str, matches: bool) -> None:
    assert Policy(pattern, None).matches(parse_reference(name)) is matches


def test_policy_ignores_digest_of_name_with_tag() -> None:
    name = parse_reference(f"registry.example.com/app:1.2@sha256:{'a' * 64}")

    assert Policy("registry.example.com/app:1.2", None).matches(name)


def test_first_matching_policy_decides() -> None:
    policies = [Policy("docker.io/other/*", None), Policy("docker.io/*", None), Policy("*", None)]

    assert find_policy(policies, parse_reference("busybox")) is policies[1]


def test_name_without_policy_is_error() -> None:
    with pytest.raises(InputError) as caught:
        find_policy([Policy("docker.io/*", None)], parse_reference("registry.example.com/app:1"))

    assert str(caught.value) == (
        'no policy of verify matches registry.example.com/app:1. Add a policy for it; match: "*" with allow: unsigned'
        " accepts all other images without a signature."
    )


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "*/team/*",
        "registry*",
        "registry.example.com/*",
        "registry.example.com/team/app",
        "registry.example.com/team/app:1.2",
        "Registry.example.com/app",
        "localhost/app:[0-9]*",
        "localhost:5000/*",
        "docker.io/library/busybox",
        "docker.io/b*",
    ],
)
def test_pattern_of_complete_names_is_accepted(pattern: str) -> None:
    Policy(pattern, None).require_complete_name()


@pytest.mark.parametrize(
    "pattern",
    [
        "busybox",
        "library/*",
        "team/app:1.*",
        "docker.io/busybox",
        "index.docker.io/library/*",
        "registry.example.com",
        "registry.example.com/",
        "registry.example.com/Team/app",
        "registry.example.com/team/* ",
        "* ",
        "https://registry.example.com/*",
        "docker://registry.example.com/*",
        f"registry.example.com/app@sha256:{'a' * 64}",
    ],
)
def test_pattern_that_matches_no_complete_name_is_error(pattern: str) -> None:
    with pytest.raises(InputError, match=r"matches no name, because names are complete\. Write the registry too"):
        Policy(pattern, None).require_complete_name()
