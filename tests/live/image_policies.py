# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies of the role k8scr.core.image_policy, each for a namespace of its own, and Pods for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import layout
from cluster.kubectl import kubectl

NODE_PORT = 30591
ADDRESS = f"localhost:{NODE_PORT}"
LABEL = "k8scr-test/image-policy"
_CONTAINERS = 100
Object = dict[str, Any]


def namespace_of(policy: str) -> str:
    """Return the namespace to which a policy applies."""
    return f"live-policy-{policy}"


def policy_variables(policy: str, **variables: Any) -> dict[str, Any]:
    """Return the role's variables of a policy that applies to the namespace of its own only."""
    return {
        "image_policy_name": namespace_of(policy),
        "image_policy_address": ADDRESS,
        "image_policy_namespaces": {"matchLabels": {LABEL: policy}},
        **variables,
    }


def run_roles(
    folder: Path, policies: Mapping[str, Mapping[str, Any]], *options: str
) -> subprocess.CompletedProcess[str]:
    """Run the role for several policies at once, each with its variables, and return the ended process."""
    inventory, playbook = folder / "inventory.yml", folder / "policies.yml"
    connection = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(json.dumps({"all": {"vars": connection, "hosts": policies}}))
    roles = [{"role": "k8scr.core.image_policy"}]
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "roles": roles}]))
    environment = {**os.environ, "K8S_AUTH_KUBECONFIG": str(layout.KUBECONFIG)}
    command = ["ansible-playbook", f"--inventory={inventory}", str(playbook), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def keep_lists_readable() -> None:
    """Create a policy that changes nothing, so that the API server reads the lists of later policies; keep it.

    After the last policy with a ConfigMap as its parameter is removed, an API server does not read ConfigMaps for later
    policies until it restarts (kubernetes/kubernetes#130887).
    """
    group = "admissionregistration.k8s.io/v1"
    metadata = {"name": "live-lists-readable"}
    mutation = "[JSONPatch{op: 'remove', path: '/none'}]"
    rule = {"apiGroups": ["k8scr.test"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["none"]}
    policy = {
        "failurePolicy": "Ignore",
        "matchConstraints": {"resourceRules": [rule]},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": mutation}}],
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "reinvocationPolicy": "Never",
    }
    binding = {
        "paramRef": {"name": "none", "namespace": "default", "parameterNotFoundAction": "Allow"},
        "policyName": metadata["name"],
    }
    objects = [
        {"apiVersion": group, "kind": "MutatingAdmissionPolicy", "metadata": metadata, "spec": policy},
        {"apiVersion": group, "kind": "MutatingAdmissionPolicyBinding", "metadata": metadata, "spec": binding},
    ]
    kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


@contextmanager
def applied(folder: Path, policies: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Create a namespace for each policy and apply the policies; remove both at the end of the block."""
    variables = {name: policy_variables(name, **policy) for name, policy in policies.items()}
    namespaces = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace_of(name), "labels": {LABEL: name}},
        }
        for name in policies
    ]
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": namespaces})
    keep_lists_readable()
    try:
        kubectl("apply", "--filename=-", stdin=objects)
        done = run_roles(folder, variables)
        assert done.returncode == 0, done.stdout + done.stderr
        yield
    finally:
        absent = {name: {**policy, "image_policy_state": "absent"} for name, policy in variables.items()}
        removed = run_roles(folder, absent)
        kubectl("delete", "--filename=-", "--ignore-not-found", "--wait=false", stdin=objects)
    assert removed.returncode == 0, removed.stdout + removed.stderr


def pod(policy: str, images: Sequence[str], **spec: Any) -> Object:
    """Return a Pod that runs on no node, with a container for each image: c0, c1 and so on."""
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod", "namespace": namespace_of(policy)},
        "spec": {"containers": containers, "schedulerName": "none", **spec},
    }


def admitted(*pods: Object, dry_run: bool = True) -> list[Object]:
    """Return new Pods as the API server admits them, in a dry run by default."""
    options = ["--filename=-", "--output=json", *(["--dry-run=server"] if dry_run else [])]
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
    output = kubectl("create", *options, stdin=objects).strip()
    items: list[Object] = []
    while output:
        # kubectl prints one JSON document for each object.
        item, end = json.JSONDecoder().raw_decode(output)
        items.append(item)
        output = output[end:].lstrip()
    return items


def created(item: Object) -> Object:
    """Create a Pod and return it as the API server admitted it."""
    return admitted(item, dry_run=False)[0]


def current(item: Object, *options: str) -> Object:
    """Return the current state of a Pod."""
    metadata = item["metadata"]
    command = ["get", "pod", metadata["name"], f"--namespace={metadata['namespace']}", "--output=json", *options]
    state: Object = json.loads(kubectl(*command))
    return state


def images_of(admitted_pod: Object) -> list[str]:
    """Return the images of a Pod's containers."""
    return [container["image"] for container in admitted_pod["spec"]["containers"]]


def originals_of(admitted_pod: Object) -> dict[str, str]:
    """Return the original names in the annotations of a Pod."""
    return {
        key: value
        for key, value in admitted_pod["metadata"].get("annotations", {}).items()
        if key.startswith(("original-image.k8scr.core/", "original-volume.k8scr.core/"))
    }


def rewritten(policy: str, names: Sequence[str]) -> dict[str, str]:
    """Return the image of a new container for each name."""
    groups = [names[start : start + _CONTAINERS] for start in range(0, len(names), _CONTAINERS)]
    items = [pod(policy, group) for group in groups]
    for number, item in enumerate(items):
        item["metadata"]["name"] = f"names-{number}"
    pods = admitted(*items)
    images: dict[str, str] = {}
    for group, item in zip(groups, pods, strict=True):
        images.update(zip(group, images_of(item), strict=True))
        expected = {
            f"original-image.k8scr.core/c{number}": name for number, name in enumerate(group) if images[name] != name
        }
        assert originals_of(item) == expected
    return images
