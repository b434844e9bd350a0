# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policy of the role image_policy rewrites the images of Pods as the collection parses their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import (
    Reference,
    is_repository,
    parse_workload_reference,
)

from .image_names import some_names
from .image_policies import ADDRESS, applied, rewritten

pytestmark = pytest.mark.own_registries

EXCLUDED = ["docker.io/library/busybox", "ghcr.io/team", "quay.io/team/api:1", "10.0.0.1", "[::1]:5000/team"]
POLICIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "qualified": {"image_policy_qualify": True},
    "named": {
        "image_policy_upstreams": ["docker.io", "quay.io", "registry.example.com:5000", "[fd00::1]:5000"],
        "image_policy_exclude": EXCLUDED,
    },
    "excluding": {"image_policy_exclude": EXCLUDED, "image_policy_qualify": True},
}


@pytest.fixture(scope="module", autouse=True)
def policies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The policies, applied by the role."""
    with applied(tmp_path_factory.mktemp("policies"), POLICIES):
        yield


def _expected(name: str, policy: Mapping[str, Any]) -> str:
    """Return the image that a container gets with a policy."""
    try:
        reference = parse_workload_reference(name)
    except InputError:
        return name
    repository = reference.repository(policy.get("image_policy_qualify", False))
    upstreams = policy.get("image_policy_upstreams", [reference.host])
    if reference.host not in upstreams or reference.host == ADDRESS or not is_repository(repository):
        return name
    if any(_matches(reference, excluded) for excluded in policy.get("image_policy_exclude", [])):
        return name
    return str(Reference(ADDRESS, repository, reference.tag, reference.digest))


def _matches(reference: Reference, excluded: str) -> bool:
    name = f"{reference.host}/{reference.path}"
    return excluded in (name, f"{name}:{reference.tag}") or name.startswith(f"{excluded}/")


@pytest.mark.parametrize("policy", POLICIES)
def test_policy_rewrites_names_as_parser_reads_them(policy: str) -> None:
    names = some_names(seed=len(policy), count=1500, address=ADDRESS)

    images = rewritten(policy, names)

    expected = {name: _expected(name, POLICIES[policy]) for name in names}
    assert {name: image for name, image in images.items() if image != expected[name]} == {}
    assert sum(name != image for name, image in images.items()) > 200


def test_policy_keeps_rewritten_names() -> None:
    names = some_names(seed=1, count=500, address=ADDRESS)
    images = sorted(set(rewritten("plain", names).values()))

    again = rewritten("plain", images)

    assert [image for image in images if again[image] != image] == []
