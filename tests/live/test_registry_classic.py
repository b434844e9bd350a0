# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The classic Pod of k8scr: the registry of go-containerregistry on port 80, which stores images in memory."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
import yaml
from cluster import image_archive, layout, nodes
from cluster import images as cluster_images
from cluster.kubectl import kubectl
from cluster.waiting import wait_until

from .conftest import Task
from .registry_role import deploy, deployed, run_role

pytestmark = pytest.mark.own_registries

NAMESPACE = "live-classic"
IMAGE = "registry.invalid/k8scr/distribution:1"
POD = {"namespace": NAMESPACE, "registry": "k8scr", "registry_port": 80}
POLICY = f"""
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {NAMESPACE}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods, namespaces]}}]
  matchConditions: [{{name: namespace, expression: "request.namespace == '{NAMESPACE}-policy'"}}]
  validations:
    - {{expression: "object.metadata.?labels.team.hasValue()", message: label team is missing}}
    - {{expression: "!object.spec.?securityContext.runAsUser.hasValue()", message: runAsUser is outside of the range}}
    - {{expression: "!object.spec.?securityContext.fsGroup.hasValue()", message: fsGroup is outside of the range}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {NAMESPACE}}}
spec: {{policyName: {NAMESPACE}, validationActions: [Deny]}}
"""


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The role's variables of a deployed classic Pod, whose image only the nodes have."""
    archive = tmp_path_factory.mktemp("classic") / "image.tar"
    image_archive.write(image_archive.Image(IMAGE, layout.BIN / "crane", command=["registry", "serve"]), archive)
    for node in layout.NODES:
        cluster_images.ctr(node, "images", "import", "--local", str(archive))
    role_variables = {
        "registry_kind": "Pod",
        "registry_namespace": NAMESPACE,
        "registry_port": 80,
        "registry_image": IMAGE,
        "registry_environment": {"HOME": "/"},
    }
    try:
        with deployed(**role_variables):
            yield role_variables
    finally:
        for node in layout.NODES:
            cluster_images.ctr(node, "images", "remove", IMAGE)


def test_pull_returns_image_pushed_to_classic_pod(task: Task, variables: dict[str, Any], tmp_path: Path) -> None:
    image = images.ensure("busybox")

    pushed = task("k8scr_push", images=[f"oci:{image.layout}"], **POD)
    again = deploy(**variables)
    entry = {"name": pushed["images"][0]["name"], "dest": f"oci:{tmp_path}/layout"}
    pulled = task("k8scr_pull", images=[entry], **POD)

    assert pushed["changed"], pushed.get("msg")
    assert "CHANGED" not in again
    assert pulled["images"][0]["digest"] == image.digest


def test_role_replaces_classic_pod_only_with_permission_to_lose_images(variables: dict[str, Any]) -> None:
    other = {**variables, "registry_environment": {"HOME": "/tmp"}}  # noqa: S108 - a name, no file
    before = kubectl("get", "pod", "k8scr", f"--namespace={NAMESPACE}", "--output=jsonpath={.metadata.uid}")

    failed = run_role(**other)
    deploy(**other, registry_lose_images=True)

    after = kubectl("get", "pod", "k8scr", f"--namespace={NAMESPACE}", "--output=jsonpath={.metadata.uid}")
    assert failed.returncode
    assert "set registry_lose_images to true" in failed.stdout
    assert after != before


def test_classic_pod_complies_with_policies_on_users_and_labels(variables: dict[str, Any]) -> None:
    plain = {**variables, "registry_namespace": f"{NAMESPACE}-policy"}
    kubectl("apply", "--filename=-", stdin=POLICY)
    try:
        # Before the API server enforces the policy, the role would deploy the Pod.
        wait_until(lambda: "label team is missing" in run_role("--check", **plain).stdout, "the policy", 60)
        denied = run_role(**plain, registry_labels={"team": "platform"})
        with deployed(**plain, registry_labels={"team": "platform"}, registry_run_as_user=""):
            pass
    finally:
        kubectl("delete", "--filename=-", stdin=POLICY)

    assert "runAsUser is outside of the range" in denied.stdout


def test_deliver_lets_nodes_pull_from_classic_pod_in_network_of_node(variables: dict[str, Any], tmp_path: Path) -> None:
    host = f"{secrets.token_hex(6)}.example.net"
    name = f"{host}/library/busybox:1.36"
    image = images.ensure("busybox")
    (tmp_path / "app").mkdir()
    copy = [
        "skopeo",
        "--insecure-policy",
        "copy",
        image.reference("oci"),
        f"oci-archive:{tmp_path}/app/busybox.tar:{name}",
    ]
    subprocess.run(copy, check=True, capture_output=True)
    first = layout.NODES[0]
    role_variables = {
        **variables,
        "registry_namespace": f"{NAMESPACE}-deliver",
        "registry_port": 5930,
        "registry_host_network": True,
        "registry_node_selector": {"kubernetes.io/hostname": first.name},
    }
    inventory = yaml.safe_load(nodes.inventory())
    inventory["nodes"]["vars"] |= {
        **role_variables,
        "deliver_folder": str(tmp_path / "app"),
        "deliver_registry": "",
        "deliver_check": [{"image": name, "args": ["true"]}],
        "node_mirror_endpoint": f"{first.address}:5930",
        "node_mirror_upstreams": [host],
        "node_mirror_fallback": False,
    }
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory))
    command = ["ansible-playbook", "-i", str(tmp_path / "inventory.yml"), "k8scr.core.deliver"]
    environment = {**os.environ, "KUBECONFIG": str(layout.KUBECONFIG)}

    try:
        runs = [
            subprocess.run(command, env=environment, capture_output=True, text=True, check=False) for _run in range(2)
        ]
    finally:
        run_role(**role_variables, registry_state="absent")
        for node in layout.NODES:
            shutil.rmtree(node.certs_d / host, ignore_errors=True)
            cluster_images.ctr(node, "images", "remove", name)

    assert [run.returncode for run in runs] == [0, 0], runs[0].stdout + runs[0].stderr
    assert set(re.findall(r"changed=(\d+)", runs[1].stdout)) == {"0"}, runs[1].stdout
