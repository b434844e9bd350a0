# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects of the role registry for garbage collections, rendered without a cluster."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

Render = Callable[..., list[dict[str, Any]]]
POD_TEMPLATE_BEFORE = "1c538a151cf4beae01dd2dd9857fbed532bdcdc1fb131248b004df5fe9d5039f"
"""The SHA-256 digest of the default Pod template before the role could collect garbage."""


def named(objects: list[dict[str, Any]], kind: str, name: str = "k8scr") -> dict[str, Any]:
    (found,) = (item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name)
    return found


def configs(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the configurations of the registry by file name."""
    data = named(objects, "ConfigMap")["data"]
    return {name: yaml.safe_load(text) for name, text in data.items() if name.endswith(".yaml")}


def containers(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    pod = named(objects, "StatefulSet")["spec"]["template"]["spec"]
    return {container["name"]: container for container in pod["containers"]}


def test_pod_template_is_unchanged_without_deletion(render: Render) -> None:
    objects = render("registry", "statefulset.yaml.j2")

    # Another template would replace the Pods of existing registries, which lose the images in most volumes.
    template = json.dumps(named(objects, "StatefulSet")["spec"]["template"], sort_keys=True)
    assert hashlib.sha256(template.encode()).hexdigest() == POD_TEMPLATE_BEFORE
    assert "publishNotReadyAddresses" not in named(objects, "Service")["spec"]


@pytest.mark.parametrize(("storage", "root"), [("emptyDir", "/var/lib/registry"), ("s3", "")])
def test_script_serves_write_port_with_deletion(render: Render, storage: str, root: str) -> None:
    objects = render("registry", "statefulset.yaml.j2", registry_delete=True, registry_storage=storage)

    found = containers(objects)
    assert found["registry"]["command"] == ["sh", "/etc/k8scr/registry.sh"]
    assert found["registry"]["args"] == ["/etc/k8scr", "/etc/k8scr-collect/request", "/run/k8scr", root]
    assert "command" not in found["mirror"]
    assert "garbage-collect" in named(objects, "ConfigMap")["data"]["registry.sh"]


def test_only_configuration_of_write_port_allows_writing(render: Render) -> None:
    found = configs(render("registry", "statefulset.yaml.j2", registry_delete=True))

    writable = {name: not config["storage"]["maintenance"]["readonly"]["enabled"] for name, config in found.items()}
    assert writable == {"registry.yaml": True, "mirror.yaml": False, "collection.yaml": False}
    ports = {name: config["http"]["addr"] for name, config in found.items()}
    assert ports == {"registry.yaml": ":5000", "mirror.yaml": ":5001", "collection.yaml": ":5000"}
    assert found["mirror.yaml"]["http"]["headers"] == {"K8scr-Collection": ["reader"]}


@pytest.mark.parametrize("delete", [True, False])
def test_registry_caches_no_descriptors(render: Render, delete: bool) -> None:
    # With a cache, the registry accepts manifests whose blobs the garbage collector deleted.
    for config in configs(render("registry", "statefulset.yaml.j2", registry_delete=delete)).values():
        assert "cache" not in config["storage"]
        assert "redis" not in config


@pytest.mark.parametrize(("replicas", "published"), [(1, True), (2, None)])
def test_service_keeps_address_of_only_pod_while_it_is_not_ready(
    render: Render, replicas: int, published: bool | None
) -> None:
    objects = render(
        "registry",
        "statefulset.yaml.j2",
        registry_delete=True,
        registry_replicas=replicas,
        registry_storage="hostPath",
        registry_storage_path="/srv",
    )

    assert named(objects, "Service")["spec"].get("publishNotReadyAddresses") == published


@pytest.mark.parametrize("delete", [True, False])
def test_only_role_for_pruning_may_request_collections(render: Render, delete: bool) -> None:
    roles = render("registry", "access.yaml.j2", registry_delete=delete)

    rights = {
        role["metadata"]["name"]: [
            (resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
        ]
        for role in roles
    }
    added = [("pods/proxy", "update"), ("configmaps", "patch")] if delete else []
    shared = [("secrets", "get"), ("pods", "get"), ("configmaps", "get"), ("configmaps", "patch")]
    assert sorted(rights["k8scr-prune"]) == sorted([("pods/proxy", "get"), ("pods/proxy", "delete"), *added, *shared])
    push = [("pods/proxy", verb) for verb in ("get", "create", "update", "patch")]
    assert sorted(rights["k8scr-push"]) == sorted([*push, *shared])
    assert sorted(rights["k8scr-pull"]) == [("pods", "get"), ("pods/proxy", "get")]
    names = [name for role in roles for rule in role["rules"] for name in rule["resourceNames"] if "collect" in name]
    assert names == (["k8scr-collect"] if delete else [])


def test_roles_allow_reading_claim_of_their_registry(render: Render) -> None:
    roles = render("registry", "access.yaml.j2", registry_storage="persistentVolumeClaim")

    for role in roles:
        (rule,) = (rule for rule in role["rules"] if rule["resources"] == ["persistentvolumeclaims"])
        assert (rule["verbs"], rule["resourceNames"]) == (["get"], ["k8scr"])


def test_role_keeps_request_of_clients(render: Render) -> None:
    objects = render("registry", "optional.yaml.j2", registry_delete=True, registry_optional_enabled=True)

    assert "data" not in named(objects, "ConfigMap", "k8scr-collect")


def test_usage_permission_allows_only_listing(render: Render) -> None:
    subjects = [{"kind": "User", "name": "pruner"}]

    role, binding = render("registry", "usage.yaml.j2", registry_usage_subjects=subjects)

    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list"}
    listed = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert {"pods", "deployments", "cronjobs"} < listed
    assert binding["subjects"] == subjects
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == "k8scr.core:k8scr:k8scr:usage"
    assert "namespace" not in role["metadata"]


@pytest.mark.parametrize(
    ("before", "after", "saves"), [(False, True, True), (True, False, True), (True, True, False), (False, False, False)]
)
def test_role_saves_images_if_deletion_is_enabled_or_disabled(
    evaluate: Callable[..., Any], before: bool, after: bool, saves: bool
) -> None:
    volumes = [{"name": "storage"}, *([{"name": "state"}] if before else [])]
    template = {"metadata": {"annotations": {"k8scr.core/write-path": "id"}}, "spec": {"volumes": volumes}}

    found = evaluate(
        "registry",
        "registry_saves_images",
        registry_delete=after,
        registry_write_path_id="id",
        registry_existing_workload={"kind": "StatefulSet", "spec": {"template": template}},
    )

    assert found is saves
