# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policy of the role image_policy rewrites the images of Pods as the collection parses their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import (
    Reference,
    is_repository,
    parse_workload_reference,
)
from cluster import image_archive, layout
from cluster.images import ctr
from cluster.kubectl import kubectl
from cluster.pods import wait_until_ready
from cluster.waiting import wait_until

from .conftest import Task
from .image_names import DIGESTS, some_names
from .image_policies import (
    ADDRESS,
    NODE_PORT,
    Object,
    admitted,
    applied,
    created,
    current,
    images_of,
    namespace_of,
    originals_of,
    pod,
    policy_variables,
    rewritten,
    run_roles,
)
from .registry_role import deployed

pytestmark = pytest.mark.own_registries

REGISTRY = {"registry_namespace": "live-policy-registry", "registry_node_port": NODE_PORT}
EXCLUDED = [
    *("docker.io/library/busybox", "ghcr.io/team", "quay.io/team/api:1", "10.0.0.1", "[::1]:5000/team"),
    "bastion:5000",
]
POLICIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "qualified": {"image_policy_qualify": True, "image_policy_exclude": EXCLUDED},
    "named": {
        "image_policy_upstreams": ["docker.io", "quay.io", "registry.example.com:5000", "[fd00::1]:5000"],
        "image_policy_exclude": EXCLUDED,
    },
    "delivered": {"image_policy_only_delivered": True},
    "removed": {},
}
OPT_OUT = "k8scr.core/image-policy"


@pytest.fixture(scope="module", autouse=True)
def policies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A registry with a node port and the policies, applied by the roles."""
    registry = {"image_policy_registry_namespace": REGISTRY["registry_namespace"]}
    variables = {name: {**registry, **policy} for name, policy in POLICIES.items()}
    with deployed(**REGISTRY), applied(tmp_path_factory.mktemp("policies"), variables):
        yield


@pytest.fixture
def create() -> Iterator[Callable[[Object], Object]]:
    """Creates a Pod, which is deleted after the test."""
    items = []

    def run(item: Object) -> Object:
        items.append(item)
        return created(item)

    yield run
    for item in items:
        metadata = item["metadata"]
        kubectl(
            "delete", "pod", metadata["name"], f"--namespace={metadata['namespace']}", "--now", "--ignore-not-found"
        )


def _expected(name: str, policy: Mapping[str, Any], delivered: Mapping[str, str] | None = None) -> str:
    """Return the image that a container gets with a policy and a list of delivered images."""
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
    names = None if delivered is None else delivered.get(repository.replace("/", "._"), "").split()
    if names is not None and (reference.digest or reference.tag) not in names:
        return name
    return str(Reference(ADDRESS, repository, reference.tag, reference.digest))


def _matches(reference: Reference, excluded: str) -> bool:
    name = f"{reference.host}/{reference.path}"
    # A name without a slash, such as bastion:5000, is an image and a host.
    short = name.removeprefix("docker.io/library/")
    return excluded in (name, f"{name}:{reference.tag}", f"{short}:{reference.tag}") or name.startswith(f"{excluded}/")


def _list_delivered(names: Mapping[str, str]) -> None:
    """Replace the list of delivered images, and wait until the API server has read it."""
    labels = {"app.kubernetes.io/name": "registry", "app.kubernetes.io/instance": "k8scr"}
    metadata = {"name": "k8scr-delivered", "namespace": REGISTRY["registry_namespace"], "labels": labels}
    definition = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {**names, "end": "1"}}
    kubectl("delete", "--filename=-", "--ignore-not-found", stdin=json.dumps(definition))
    kubectl("create", "--filename=-", stdin=json.dumps(definition))
    _wait_until_rewritten("quay.io/end:1")


def _wait_until_rewritten(name: str) -> None:
    wait_until(lambda: rewritten("delivered", [name])[name] != name, "the API server has read the list")


@pytest.mark.parametrize("policy", ["plain", "qualified", "named"])
def test_policy_rewrites_names_as_parser_reads_them(policy: str) -> None:
    names = some_names(seed=len(policy), count=1500, address=ADDRESS)

    images = rewritten(policy, names)

    expected = {name: _expected(name, POLICIES[policy]) for name in names}
    assert {name: image for name, image in images.items() if image != expected[name]} == {}
    assert sum(name != image for name, image in images.items()) > 200


def test_policy_rewrites_only_names_in_list_of_delivered_images() -> None:
    names = some_names(seed=4, count=1500, address=ADDRESS)
    repositories = sorted({Reference(*_parts(name)).path for name in names if _expected(name, {}) != name})
    values = [f"1 {DIGESTS[0]}", "1.36 latest", f"v1.2.3-rc.1 {DIGESTS[1]} 10", "latest-1"]
    delivered = {
        path.replace("/", "._"): values[number % len(values)]
        for number, path in enumerate(repositories)
        if number % 5 and len(path.replace("/", "._")) <= 253
    }
    _list_delivered(delivered)

    images = rewritten("delivered", names)

    expected = {name: _expected(name, {}, delivered) for name in names}
    assert {name: image for name, image in images.items() if image != expected[name]} == {}
    assert sum(name != image for name, image in images.items()) > 100


def _parts(name: str) -> tuple[str, str]:
    reference = parse_workload_reference(name)
    return reference.host, reference.path


def test_policy_rewrites_no_name_without_list_of_delivered_images() -> None:
    namespace = f"--namespace={REGISTRY['registry_namespace']}"
    kubectl("delete", "configmap", "k8scr-delivered", namespace, "--ignore-not-found")

    wait_until(lambda: rewritten("delivered", ["end:1"])["end:1"] == "end:1", "the deletion of the list is read")


def test_policy_keeps_rewritten_names() -> None:
    names = some_names(seed=1, count=500, address=ADDRESS)
    images = sorted(set(rewritten("plain", names).values()))

    again = rewritten("plain", images)

    assert [image for image in images if again[image] != image] == []


def test_policy_rewrites_init_containers_and_image_volumes() -> None:
    item = pod(
        "plain",
        ["busybox:1"],
        initContainers=[{"name": "i" * 63, "image": "quay.io/team/init"}],
        volumes=[{"name": "c0", "image": {"reference": f"team/data@{DIGESTS[0]}"}}, {"name": "v", "emptyDir": {}}],
    )

    (result,) = admitted(item)

    assert images_of(result) == [f"{ADDRESS}/library/busybox:1"]
    assert result["spec"]["initContainers"][0]["image"] == f"{ADDRESS}/team/init:latest"
    assert result["spec"]["volumes"][0]["image"]["reference"] == f"{ADDRESS}/team/data@{DIGESTS[0]}"
    assert originals_of(result) == {
        "original-image.k8scr.core/c0": "busybox:1",
        f"original-image.k8scr.core/{'i' * 63}": "quay.io/team/init",
        "original-volume.k8scr.core/c0": f"team/data@{DIGESTS[0]}",
    }


def test_policy_rewrites_ephemeral_container_without_annotation(create: Callable[[Object], Object]) -> None:
    item = create(pod("plain", ["busybox:1"]))
    item["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "quay.io/team/debug:1"}]
    path = f"/api/v1/namespaces/{namespace_of('plain')}/pods/pod/ephemeralcontainers"

    kubectl("replace", f"--raw={path}", "--filename=-", stdin=json.dumps(item))

    result = current(item)
    assert result["spec"]["ephemeralContainers"][0]["image"] == f"{ADDRESS}/team/debug:1"
    assert originals_of(result) == {"original-image.k8scr.core/c0": "busybox:1"}


def test_policy_keeps_images_of_earlier_pod_until_update_changes_them(create: Callable[[Object], Object]) -> None:
    item = pod("plain", ["busybox:1", "quay.io/team/api:1"])
    item["metadata"]["labels"] = {OPT_OUT: "ignore"}
    create(item)
    namespace = f"--namespace={namespace_of('plain')}"

    kubectl("label", "pod", "pod", namespace, f"{OPT_OUT}-", "team=platform")
    labelled = current(item)
    kubectl("set", "image", "pod/pod", namespace, "c1=quay.io/team/api:2")
    changed = current(item)

    assert images_of(labelled) == ["busybox:1", "quay.io/team/api:1"]
    assert originals_of(labelled) == {}
    assert images_of(changed) == ["busybox:1", f"{ADDRESS}/team/api:2"]
    assert originals_of(changed) == {"original-image.k8scr.core/c1": "quay.io/team/api:2"}


def test_policy_removes_annotation_if_update_sets_excluded_image(create: Callable[[Object], Object]) -> None:
    item = create(pod("named", ["team/api:1", "team/api:2"]))

    kubectl("set", "image", "pod/pod", f"--namespace={namespace_of('named')}", "c0=quay.io/team/api:1")

    assert originals_of(item) == {
        "original-image.k8scr.core/c0": "team/api:1",
        "original-image.k8scr.core/c1": "team/api:2",
    }
    assert images_of(current(item)) == ["quay.io/team/api:1", f"{ADDRESS}/team/api:2"]
    assert originals_of(current(item)) == {"original-image.k8scr.core/c1": "team/api:2"}


def test_policy_does_not_change_pods_with_opt_out_label_and_static_pods() -> None:
    ignored, static = pod("plain", ["busybox:1"]), pod("plain", ["busybox:1"])
    ignored["metadata"]["labels"] = {OPT_OUT: "ignore"}
    static["metadata"] |= {"name": "static", "annotations": {"kubernetes.io/config.mirror": "1"}}
    static["spec"] |= {"nodeName": layout.NODES[0].name, "automountServiceAccountToken": False}

    results = admitted(ignored, static)

    assert [images_of(result) for result in results] == [["busybox:1"], ["busybox:1"]]
    assert [originals_of(result) for result in results] == [{}, {}]


def test_policy_does_not_change_pods_in_namespace_with_opt_out_label() -> None:
    name = namespace_of("plain-ignored")
    labels = {**policy_variables("plain")["image_policy_namespaces"]["matchLabels"], OPT_OUT: "ignore"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    try:
        kubectl("create", "--filename=-", stdin=json.dumps(namespace))

        images = rewritten("plain-ignored", ["busybox:1"])
    finally:
        kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")

    assert images == {"busybox:1": "busybox:1"}


def test_policy_rewrites_image_of_container_that_another_policy_adds() -> None:
    name = "live-policy-sidecar"
    sidecar = '[JSONPatch{op: "add", path: "/spec/containers/-", value: {"name": "sidecar", "image": "team/mesh:1"}}]'
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    spec = {
        "reinvocationPolicy": "Never",
        "matchConstraints": {
            "resourceRules": rules,
            "namespaceSelector": policy_variables("plain")["image_policy_namespaces"],
            "objectSelector": {"matchLabels": {"sidecar": "yes"}},
        },
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": sidecar}}],
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    binding = {**kind, "kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": name}}
    items = [{**kind, "kind": "MutatingAdmissionPolicy", "spec": spec}, binding]
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    item = pod("plain", ["busybox:1"])
    item["metadata"]["labels"] = {"sidecar": "yes"}
    try:
        kubectl("create", "--filename=-", stdin=objects)
        wait_until(lambda: len(images_of(admitted(item)[0])) > 1, "the other policy adds the container")

        (result,) = admitted(item)
    finally:
        kubectl("delete", "--filename=-", "--ignore-not-found", stdin=objects)

    assert images_of(result) == [f"{ADDRESS}/library/busybox:1", f"{ADDRESS}/team/mesh:1"]
    assert originals_of(result)["original-image.k8scr.core/sidecar"] == "team/mesh:1"


def test_policy_does_not_block_pod_whose_images_exceed_limit_of_evaluation() -> None:
    images = [f"registry.example.com/{'team/' * 45}api-{number}:1" for number in range(1500)]

    (result,) = admitted(pod("plain", images))

    assert images_of(result) == images


def test_policy_adds_no_annotation_beyond_limit_of_annotations() -> None:
    item = pod("plain", ["busybox:1"])
    item["metadata"]["annotations"] = {"a": "é" * (128 * 1024 - 10)}

    (result,) = admitted(item)

    assert images_of(result) == [f"{ADDRESS}/library/busybox:1"]
    assert originals_of(result) == {}


def test_role_changes_nothing_in_check_mode_and_in_second_run(tmp_path: Path) -> None:
    registry = {"image_policy_registry_namespace": REGISTRY["registry_namespace"]}
    variables = policy_variables("plain", **registry)
    changed = {**variables, "image_policy_upstreams": ["quay.io"]}

    checked = run_roles(tmp_path, {"plain": changed}, "--check")
    again = run_roles(tmp_path, {"plain": variables})

    assert "changed=1 " in checked.stdout, checked.stdout + checked.stderr
    assert "changed=0 " in again.stdout, again.stdout + again.stderr
    assert rewritten("plain", ["busybox:1"]) == {"busybox:1": f"{ADDRESS}/library/busybox:1"}


def test_role_removes_policy_and_keeps_images_of_existing_pods(
    create: Callable[[Object], Object], tmp_path: Path
) -> None:
    item = create(pod("removed", ["busybox:1"]))

    done = run_roles(tmp_path, {"removed": policy_variables("removed", image_policy_state="absent")})

    assert "changed=1 " in done.stdout, done.stdout + done.stderr
    wait_until(lambda: rewritten("removed", ["busybox:1"])["busybox:1"] == "busybox:1", "the policy has no effect")
    kubectl("label", "pod", "pod", f"--namespace={namespace_of('removed')}", "team=platform")
    assert images_of(current(item)) == [f"{ADDRESS}/library/busybox:1"]


def test_pods_run_pushed_image_from_node_port_on_every_node(
    create: Callable[[Object], Object], task: Task, repository: str, tmp_path: Path
) -> None:
    name, archive = f"registry.example.com/{repository}:1", tmp_path / "image.tar"
    image_archive.write(image_archive.Image(name, Path("/bin/busybox"), command=["sleep", "infinity"]), archive)
    _list_delivered({})
    pushed = task("k8scr_push", images=[str(archive)], namespace=REGISTRY["registry_namespace"])
    assert pushed["changed"], pushed.get("msg")
    _wait_until_rewritten(name)
    items = [pod("delivered", [name], nodeName=node.name) for node in layout.NODES]
    for item, node in zip(items, layout.NODES, strict=True):
        item["metadata"]["name"] = node.name
    try:
        results = [create(item) for item in items]

        wait_until_ready(*(node.name for node in layout.NODES), namespace=namespace_of("delivered"))
    finally:
        for node in layout.NODES:
            ctr(node, "images", "remove", f"{ADDRESS}/{repository}:1")

    assert [images_of(result) for result in results] == [[f"{ADDRESS}/{repository}:1"]] * len(layout.NODES)
