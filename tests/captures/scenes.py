# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pictures: playbooks of users, and the moments that the pictures show."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from cluster import images
from cluster.kubectl import kubectl
from cluster.layout import NODES
from cluster.pods import find_processes
from images.sizes import MIB

from .studio import Studio

NAMESPACE = "images"
_POD = "k8scr-0"
_HOST = "example.com"
_RELEASE = ("api", "billing", "cart", "gateway", "mailer", "search", "shop", "worker")
_WIDE = 156
"""The columns for statuses with a reason or the name of a blob."""
_WAIT = 60


def deploy_registry(studio: Studio) -> None:
    """Show the role while it waits for a node with the label that it selects."""
    variables = {
        "registry_image": images.REGISTRY,
        "registry_namespace": NAMESPACE,
        "registry_delete": True,
        "registry_node_selector": {"disk": "ssd"},
    }
    role = {"name": "k8scr.core.registry"}
    task = {"name": "Deploy the registry", "ansible.builtin.include_role": role, "vars": variables}
    with studio.running("registry", task, columns=_WIDE) as terminal:
        terminal.wait_for_text(r"The cluster reports: ", _WAIT)
        time.sleep(2)
        until = terminal.chunks[-1][0]
        kubectl("label", "node", NODES[0].name, "disk=ssd", "--overwrite")
    first = "TASK [k8scr.core.registry : Deploy the registry]"
    studio.save("progress-registry", "The role registry waits for a node", terminal, "registry.yml", until, first)


def remove_registry(studio: Studio) -> None:
    """Remove the registry and the label of the node."""
    variables = {"registry_namespace": NAMESPACE, "registry_state": "absent"}
    role = {"name": "k8scr.core.registry"}
    task = {"name": "Remove the registry", "ansible.builtin.include_role": role, "vars": variables}
    with studio.running("remove", task):
        pass
    kubectl("label", "node", NODES[0].name, "disk-")


def push_release(studio: Studio) -> None:
    """Show a push during the transfer and at the end, and a second run."""
    names = {
        f"{_HOST}/team/{name}:1.{minor}": (4 + number) * MIB + 7 * minor
        for minor in (1, 2)
        for number, name in enumerate(_RELEASE[:6])
    }
    studio.write_images("release", names, 4)
    task = {"name": "Push the release", "k8scr.core.k8scr_push": {"images": ["./release"], "bandwidth": "16M"}}
    with studio.running("push", task) as terminal:
        terminal.wait_for_text(r"[78]/12 images.*left", _WAIT)
        until = terminal.chunks[-1][0]
    studio.save("progress-push", "A push of twelve images, during the transfer", terminal, "push.yml", until)
    studio.save("progress-pushed", "A push of twelve images, at the end", terminal, "push.yml")
    with studio.running("push", task) as terminal:
        pass
    studio.save("progress-unchanged", "A second push of the same images changes nothing", terminal, "push.yml")


def plan(studio: Studio) -> None:
    """Show the differences of a release whose tags exist with other content."""
    names = {f"{_HOST}/team/{name}:1.{minor}": 3 * MIB + 5 * minor for name in _RELEASE[:3] for minor in (2, 3)}
    studio.write_images("update", names, 4)
    task = {"name": "Push the update", "k8scr.core.k8scr_push": {"images": ["./update"]}}
    flags = ("--check", "--diff")
    with studio.running("update", task, *flags) as terminal:
        pass
    studio.save("progress-diff", "The differences of a push", terminal, " ".join(["update.yml", *flags]))


def stall(studio: Studio) -> None:
    """Show a push to a registry that does not respond."""
    studio.write_images("hotfix", {f"{_HOST}/team/api:1.3": 32 * MIB + 9, f"{_HOST}/team/cart:1.3": 32 * MIB + 99}, 3)
    task = {"name": "Push the hotfix", "k8scr.core.k8scr_push": {"images": ["./hotfix"], "bandwidth": "16M"}}
    processes = find_processes(NAMESPACE, _POD, b"serve")
    with studio.running("hotfix", task, columns=_WIDE) as terminal:
        try:
            terminal.wait_for_text(r"of .* MiB", _WAIT)
            for process in processes:
                os.kill(process, signal.SIGSTOP)
            terminal.wait_for_text(r"no data since", _WAIT)
            time.sleep(3)
            until = terminal.chunks[-1][0]
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)
    studio.save("progress-stall", "A push to a registry that stopped responding", terminal, "hotfix.yml", until)


def fail(studio: Studio) -> None:
    """Show a push whose source lacks layers and whose second source is missing."""
    folder = studio.write_images(
        "media", {f"{_HOST}/team/{name}:1.4": (2 + number) * MIB + 11 for number, name in enumerate(_RELEASE)}, 3
    )
    large = sorted((folder / "blobs/sha256").iterdir(), key=lambda blob: blob.stat().st_size)
    for blob in (large[-1], large[-4]):
        blob.unlink()
    sources = ["./media", "oci-archive:./tools.tar"]
    task = {"name": "Push the release", "k8scr.core.k8scr_push": {"images": sources}}
    with studio.running("release", task, fails=True, columns=_WIDE) as terminal:
        pass
    # The path of the playbook and the result of the task follow.
    studio.save("progress-failures", "A push in which some images fail", terminal, "release.yml", end="Origin: ")


def prune(studio: Studio) -> None:
    """Show the deletion of old versions."""
    options = {"keep_last": 1, "keep_used": False}
    task = {"name": "Delete old versions", "k8scr.core.k8scr_prune": options}
    with studio.running("prune", task) as terminal:
        pass
    studio.save("progress-prune", "A prune that keeps the last version of each image", terminal, "prune.yml")


SCENES: dict[str, Callable[[Studio], None]] = {
    "push": push_release,
    "plan": plan,
    "stall": stall,
    "fail": fail,
    "prune": prune,
}
"""The scenes between the deployment and the removal of the registry; some need the images of the push."""
