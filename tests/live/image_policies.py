# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies of the role k8scr.core.image_policy, each for a namespace of its own, and Pods for them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import layout
from cluster.kubectl import kubectl

ADDRESS = "localhost:30591"
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


def run_roles(folder: Path, policies: Iterable[Mapping[str, Any]], *options: str) -> subprocess.CompletedProcess[str]:
    """Run the role with the variables of each policy, and return the ended process."""
    tasks = [
        {"ansible.builtin.include_role": {"name": "k8scr.core.image_policy"}, "vars": variables}
        for variables in policies
    ]
    playbook = folder / "policies.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    environment = {**os.environ, "K8S_AUTH_KUBECONFIG": str(layout.KUBECONFIG)}
    command = ["ansible-playbook", str(playbook), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@contextmanager
def applied(folder: Path, policies: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Create a namespace for each policy and apply the policies; remove both at the end of the block."""
    variables = [policy_variables(name, **policy) for name, policy in policies.items()]
    namespaces = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace_of(name), "labels": {LABEL: name}},
        }
        for name in policies
    ]
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": namespaces})
    try:
        kubectl("apply", "--filename=-", stdin=objects)
        done = run_roles(folder, variables)
        assert done.returncode == 0, done.stdout + done.stderr
        yield
    finally:
        removed = run_roles(folder, [{**policy, "image_policy_state": "absent"} for policy in variables])
        kubectl("delete", "--filename=-", "--ignore-not-found", "--wait=false", stdin=objects)
    assert removed.returncode == 0, removed.stdout + removed.stderr


def pod(policy: str, images: Sequence[str], **spec: Any) -> Object:
    """Return a Pod that runs on no node, with a container for each image: c0, c1 and so on."""
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod", "namespace": namespace_of(policy)},
        "spec": {"containers": containers, "nodeSelector": {LABEL: "none"}, **spec},
    }


def admitted(*pods: Object, dry_run: bool = True, command: str = "create") -> list[Object]:
    """Return Pods as the API server admits them."""
    options = ["--filename=-", "--output=json", *(["--dry-run=server"] if dry_run else [])]
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
    output = kubectl(command, *options, stdin=objects).strip()
    items: list[Object] = []
    while output:
        # kubectl prints one JSON document for each object.
        item, end = json.JSONDecoder().raw_decode(output)
        items.append(item)
        output = output[end:].lstrip()
    return items


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
    pods = admitted(*(pod(policy, group) for group in groups))
    images: dict[str, str] = {}
    for group, item in zip(groups, pods, strict=True):
        images.update(zip(group, images_of(item), strict=True))
        expected = {
            f"original-image.k8scr.core/c{number}": name for number, name in enumerate(group) if images[name] != name
        }
        assert originals_of(item) == expected
    return images
