# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects of the role registry, rendered without a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SELECTOR = {"app.kubernetes.io/name": "registry", "app.kubernetes.io/instance": "k8scr"}
WORKLOADS = ("pod.yaml.j2", "statefulset.yaml.j2")
Render = Callable[..., list[dict[str, Any]]]


def by_kind(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {definition["kind"]: definition for definition in objects}


def pods_in(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the specs of the Pods and the Pod templates."""
    workloads = (definition for definition in objects if definition["kind"] in ("Pod", "StatefulSet"))
    return [definition["spec"].get("template", definition)["spec"] for definition in workloads]


def test_role_adds_labels_and_annotations_to_every_object(render: Render) -> None:
    names = ("access", "claim", "http_secret", "namespace", "optional", "pod", "statefulset", "write_path")

    objects = render(
        "registry",
        *(f"{name}.yaml.j2" for name in names),
        registry_labels={"team": "platform"},
        registry_annotations={"example.com/contact": "us"},
        registry_optional_enabled=False,
        registry_api_server_addresses=["10.0.0.1/32"],
    )

    assert len(objects) > len(names)
    for definition in objects:
        assert definition["metadata"]["labels"]["team"] == "platform", definition
        assert definition["metadata"]["annotations"]["example.com/contact"] == "us", definition


def test_role_adds_labels_to_pods_but_not_to_selectors(render: Render) -> None:
    objects = by_kind(render("registry", "statefulset.yaml.j2", registry_labels={"team": "platform"}))

    spec = objects["StatefulSet"]["spec"]
    assert spec["template"]["metadata"]["labels"] == {"team": "platform", **SELECTOR}
    assert spec["selector"]["matchLabels"] == SELECTOR
    assert objects["Service"]["spec"]["selector"] == SELECTOR
    assert "volumeClaimTemplates" not in spec


def test_role_finds_its_objects_despite_additional_labels(evaluate: Callable[..., Any]) -> None:
    labels = [{**SELECTOR, "team": "platform"}, {"app.kubernetes.io/name": "registry"}, {**SELECTOR, "team": "other"}]
    objects = [{"kind": f"Kind{number}", "metadata": {"labels": value}} for number, value in enumerate(labels)]
    found = [{"action": "unchanged", "object": definition} for definition in [*objects, {"kind": "A", "metadata": {}}]]

    owned = evaluate("registry", "registry_existing_owned", registry_lookup={"objects": found})

    assert [definition["kind"] for definition in owned] == ["Kind0", "Kind2"]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532}),
        ({"registry_run_as_user": ""}, {}),
        ({"registry_run_as_user": None}, {}),
        (
            {"registry_run_as_user": "1000", "registry_run_as_group": 0},
            {"runAsUser": 1000, "runAsGroup": 0, "fsGroup": 0},
        ),
    ],
)
def test_role_sets_user_and_group_as_in_options(render: Render, options: dict[str, Any], ids: dict[str, int]) -> None:
    pods = pods_in(render("registry", *WORKLOADS, **options))

    for found in (pod["securityContext"] for pod in pods):
        assert {name: found[name] for name in ("runAsUser", "runAsGroup", "fsGroup") if name in found} == ids
        assert found["runAsNonRoot"] is True


@pytest.mark.parametrize(
    ("storage", "policy"), [("persistentVolumeClaim", "OnRootMismatch"), ("emptyDir", None), ("memory", None)]
)
def test_kubelet_keeps_groups_of_files_in_a_claim(render: Render, storage: str, policy: str | None) -> None:
    (pod,) = pods_in(render("registry", "statefulset.yaml.j2", registry_storage=storage))

    # A new field would replace the Pods of existing registries, which lose the images in other volumes.
    assert pod["securityContext"].get("fsGroupChangePolicy") == policy


def test_environment_of_user_replaces_variables_of_role(render: Render) -> None:
    given = {"OTEL_TRACES_EXPORTER": "otlp", "REGISTRY_HTTP_SECRET": "known", "HTTPS_PROXY": "http://proxy.example.com"}

    pods = pods_in(render("registry", *WORKLOADS, registry_environment=given))

    for container in (container for pod in pods for container in pod["containers"]):
        names = [variable["name"] for variable in container["env"]]
        assert len(set(names)) == len(names)
        assert given.items() <= {variable["name"]: variable.get("value") for variable in container["env"]}.items()


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [("10.96.10.20", "10.96.10.20:5001"), ("fd00:10:96::abcd", "[fd00:10:96::abcd]:5001"), (None, ":5001")],
)
def test_endpoint_for_nodes_has_ipv6_address_in_brackets(
    evaluate: Callable[..., Any], address: str | None, endpoint: str
) -> None:
    service = {"kind": "Service", "object": {"spec": {"clusterIP": address} if address else {}}}

    found = evaluate("registry", "registry_service_endpoint", registry_deployed={"objects": [service]})

    assert found == endpoint


@pytest.mark.parametrize("given", [True, False])
def test_network_policy_has_blocks_of_addresses_of_both_families(render: Render, given: bool) -> None:
    addresses = ["10.0.0.1", "fd00::1"]
    options: dict[str, Any] = {"registry_api_server_addresses": [*addresses, "10.1.0.0/16", "fd00:7::/64"]}
    blocks = ["10.0.0.1/32", "fd00::1/128", "10.1.0.0/16", "fd00:7::/64"]
    if not given:
        published = {"kind": "EndpointSlice", "endpoints": [{"addresses": addresses}]}
        options = {"registry_lookup": {"objects": [{"action": "unchanged", "object": published}]}}
        blocks = blocks[:2]

    policy = by_kind(render("registry", "optional.yaml.j2", registry_optional_enabled=False, **options))[
        "NetworkPolicy"
    ]

    assert [peer["ipBlock"]["cidr"] for peer in policy["spec"]["ingress"][0]["from"]] == blocks


def test_roles_for_writing_may_change_list_of_delivered_names(render: Render) -> None:
    roles = render("registry", "access.yaml.j2", registry_name="store")

    rules = {
        role["metadata"]["name"]: [(rule["resourceNames"], rule["verbs"])]
        for role in roles
        for rule in role["rules"]
        if rule["resources"] == ["configmaps"]
    }
    assert rules == {name: [(["store-delivered"], ["get", "patch"])] for name in ("store-push", "store-prune")}


def test_classic_pod_has_no_list_of_delivered_names(render: Render) -> None:
    roles = render("registry", "access.yaml.j2", registry_kind="Pod")

    assert not [rule for role in roles for rule in role["rules"] if rule["resources"] == ["configmaps"]]
