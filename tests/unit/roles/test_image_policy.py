# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables and objects of the role image_policy, without a cluster."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .conftest import Evaluate, Plays, Render

ROLE = {"ansible.builtin.include_role": {"name": "k8scr.core.image_policy"}}
POLICY = "policy.yaml.j2"


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [("localhost:30501", "localhost:30501"), ("[fd00::1]:5001", "")],
)
def test_role_uses_only_endpoint_at_localhost(evaluate: Evaluate, endpoint: str, address: str) -> None:
    assert evaluate("image_policy", "image_policy_address", registry_endpoint=endpoint) == address


def test_role_completes_names_of_excluded_images(evaluate: Evaluate) -> None:
    entries = {
        "busybox": "docker.io/library/busybox",
        "registry:3.1.2": "docker.io/library/registry:3.1.2",
        f"alpine@sha256:{'a' * 64}": f"docker.io/library/alpine@sha256:{'a' * 64}",
        "team/api": "docker.io/team/api",
        "team/web:1.0": "docker.io/team/web:1.0",
        "index.docker.io/team/app": "docker.io/team/app",
        "docker.io": "docker.io",
        "registry.k8s.io": "registry.k8s.io",
        "registry.example.com:5000": "registry.example.com:5000",
        "registry.example.com:5000/team": "registry.example.com:5000/team",
        "localhost": "localhost",
        "localhost:5000": "localhost:5000",
        "localhost/team": "localhost/team",
        "[fd00::1]:5000/team": "[fd00::1]:5000/team",
    }
    # The last one is an organization, or an image of the library.
    excluded = [*entries.values(), "docker.io/rancher", "docker.io/library/rancher"]

    names = evaluate("image_policy", "image_policy_excluded", image_policy_exclude=[*entries, "docker.io/rancher"])

    assert names == excluded


def test_role_excludes_both_readings_of_name_with_number(evaluate: Evaluate) -> None:
    names = evaluate("image_policy", "image_policy_excluded", image_policy_exclude=["registry:5000"])

    assert names == ["docker.io/library/registry:5000", "registry:5000"]


def test_role_excludes_image_and_namespace_of_registry(render: Render) -> None:
    variables = {"registry_image": "quay.io/team/registry:3", "registry_namespace": "images"}

    policy, _binding = render("image_policy", POLICY, registry_endpoint="localhost:30501", **variables)

    (names,) = (
        expression["values"]
        for expression in policy["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
        if expression["key"] == "kubernetes.io/metadata.name"
    )
    assert names == ["kube-system", "images"]
    assert '"quay.io/team/registry:3"' in _variable(policy, "selected")


def test_role_adds_its_selectors_to_those_of_user(render: Render) -> None:
    selector = {"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}

    policy, _binding = render(
        "image_policy", POLICY, image_policy_namespaces=selector, image_policy_exclude_namespaces=[]
    )

    opt_out = {"key": "k8scr.core/image-policy", "operator": "NotIn", "values": ["ignore"]}
    assert policy["spec"]["matchConstraints"]["namespaceSelector"] == {
        "matchLabels": {"team": "a"},
        "matchExpressions": [{"key": "b", "operator": "Exists"}, opt_out],
    }


def test_policy_reads_list_of_registry_with_only_delivered(render: Render) -> None:
    names = {"image_policy_registry_namespace": "images", "image_policy_registry_name": "main"}

    policy, binding = render("image_policy", POLICY, image_policy_only_delivered=True, **names)

    assert policy["spec"]["failurePolicy"] == "Ignore"
    assert policy["spec"]["paramKind"] == {"apiVersion": "v1", "kind": "ConfigMap"}
    assert binding["spec"]["paramRef"] == {
        "name": "main-delivered",
        "namespace": "images",
        "parameterNotFoundAction": "Allow",
    }
    assert "params" in _variable(policy, "targets")


def test_policy_reads_no_list_by_default(render: Render) -> None:
    policy, binding = render("image_policy", POLICY)

    assert policy["spec"]["failurePolicy"] == "Ignore"
    assert "paramKind" not in policy["spec"]
    assert "paramRef" not in binding["spec"]
    assert "params" not in _variable(policy, "targets")


def test_role_rejects_invalid_variables(run_plays: Plays) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"registry_endpoint": "10.96.0.20:5001"}, "Set registry_node_port in the role registry"),
        ({"image_policy_address": "http://localhost:30501"}, "Write HOST or HOST:PORT without a scheme"),
        ({"image_policy_upstreams": ["quay.io/team"]}, "image_policy_upstreams has quay.io/team"),
        ({"image_policy_exclude": ['a"b']}, 'image_policy_exclude has a"b'),
        ({"image_policy_upstreams": "quay.io"}, "image_policy_upstreams must be a list or a dictionary"),
        ({"image_policy_namespaces": {"team": "a"}}, "image_policy_namespaces has the keys team"),
    ]
    message = {"ansible.builtin.debug": {"msg": "rejected: {{ ansible_failed_result.msg }}"}}
    tasks = [
        {"block": [{**ROLE, "vars": {"registry_endpoint": "localhost:30501", **variables}}], "rescue": [message]}
        for variables, _message in cases
    ]

    done = run_plays({"tasks": tasks})

    messages = [json.loads(f'"{text}"') for text in re.findall(r'"msg": "rejected: (.*)"', done.stdout)]
    assert done.returncode == 0, done.stdout + done.stderr
    for (_variables, expected), found in zip(cases, messages, strict=True):
        assert expected in found


def _variable(policy: dict[str, Any], name: str) -> str:
    """Return the expression of a variable of a policy."""
    (expression,) = (item["expression"] for item in policy["spec"]["variables"] if item["name"] == name)
    assert isinstance(expression, str)
    return expression
