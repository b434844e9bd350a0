# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks of the guide on the life of a registry.

They run unchanged with three exceptions. The folder of the release is one of the test. The registry is in its own
namespace, with a small volume. The user of the guide has the Roles of the guide only, except to deploy and to push.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import layout, users
from cluster.kubectl import kubectl
from images.sizes import MIB

from .conftest import Task
from .guide_pages import CommandResult, read_guide, run_command
from .layout_writer import LayoutWriter
from .registry_role import run_role

API = "registry.example.com/team/api"
STORAGE = {"registry_storage": "emptyDir", "registry_storage_size_limit": "64Mi"}


class Maintainer:
    """The user who follows the guide.

    Args:
        folder: The working directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespace = f"guide-{secrets.token_hex(4)}"
        self.release = folder / "release"
        self.kubeconfig = users.make("maintainer")
        guide = read_guide("guide_registry_life.rst", {"/media/release": str(self.release)})
        self.commands = iter(guide.commands)
        for name, text in guide.files.items():
            plays = yaml.safe_load(text)
            for play in plays:
                play["module_defaults"] = {"group/k8scr.core.registry": {"namespace": self.namespace}}
            (folder / name).write_text(yaml.safe_dump(plays))

    def run(self, command: str, kubeconfig: Path | None = None, fails: bool = False) -> CommandResult:
        """Run the next command of the guide, which must be this one, by default as the maintainer."""
        assert next(self.commands) == command
        return self.repeat(command, kubeconfig, fails)

    def repeat(self, command: str, kubeconfig: Path | None = None, fails: bool = False) -> CommandResult:
        """Run a command of the guide again, by default as the maintainer."""
        variables = {"registry_namespace": self.namespace, **STORAGE}
        options = [f"--extra-vars={json.dumps(variables)}"]
        return run_command(command, self.folder, kubeconfig or self.kubeconfig, options, fails)

    def write_images(self, folder: Path, sizes: Mapping[str, int]) -> str:
        """Write images to a layout, each with two layers of this size, and return the layout as a source."""
        writer = LayoutWriter(folder)
        for tag, size in sizes.items():
            writer.add(f"{API}:{tag}", 2, size)
        return writer.finish()


@pytest.fixture
def maintainer(tmp_path: Path) -> Iterator[Maintainer]:
    """A user with an empty registry in its own namespace."""
    user = Maintainer(tmp_path)
    try:
        yield user
    finally:
        done = run_role(registry_namespace=user.namespace, registry_state="absent")
    assert done.returncode == 0, done.stdout + done.stderr


def run_in_cluster(image: str, namespace: str) -> None:
    """Create a Deployment without Pods that uses an image."""
    kubectl("create", "deployment", "api", f"--image={image}", "--replicas=0", f"--namespace={namespace}")


def stored(task: Task, namespace: str) -> dict[str, Any]:
    """Return the total of bytes in the registry, and its images by tag."""
    found = task("k8scr_info", namespace=namespace)
    images = {tag: image for image in found["images"] for tag in image["tags"]}
    return {"bytes": found["totals"]["bytes"], "images": images}


def test_registry_life_guide_delivers_inspects_and_prunes(maintainer: Maintainer, task: Task) -> None:
    namespace = maintainer.namespace
    maintainer.run("ansible-playbook deploy.yml", layout.KUBECONFIG)
    users.wait_for_permission("maintainer", namespace)
    old = maintainer.write_images(
        maintainer.folder / "old", {"1.0": MIB, "1.1": 2 * MIB, "1.2": 3 * MIB, "1.3-rc1": 4 * MIB}
    )
    pushed = task("k8scr_push", images=[old], namespace=namespace)
    assert pushed["changed"], pushed.get("msg")
    run_in_cluster(f"{API}:1.0", namespace)

    # Two layers of 40 MiB do not fit into the volume of 64 MiB.
    maintainer.write_images(maintainer.release, {"1.3": 40 * MIB})
    full = maintainer.run("ansible-playbook release.yml", layout.KUBECONFIG, fails=True)
    assert "the registry has too little space" in full.output
    assert set(stored(task, namespace)["images"]) == {"1.0", "1.1", "1.2", "1.3-rc1"}
    shutil.rmtree(maintainer.release)
    maintainer.write_images(maintainer.release, {"1.3": 5 * MIB})
    assert maintainer.repeat("ansible-playbook release.yml", layout.KUBECONFIG).changes == {"localhost": 1}

    inspected = maintainer.run("ansible-playbook inspect.yml")
    assert inspected.changes == {"localhost": 0}
    assert "team/api 1.3: " in inspected.output

    assert maintainer.run("ansible-playbook tags.yml").changes == {"localhost": 2}
    assert maintainer.repeat("ansible-playbook tags.yml").changes == {"localhost": 0}
    tagged = stored(task, namespace)["images"]
    assert tagged["1.3"]["digest"] == tagged["stable"]["digest"]

    before = stored(task, namespace)
    planned = maintainer.run("ansible-playbook prune.yml --check --diff")
    assert "team/api:1.1" in planned.output
    assert stored(task, namespace) == before

    # Kept are 1.0, which a Deployment uses, the last two versions, and all tags of the release.
    pruned = maintainer.run("ansible-playbook prune.yml")
    assert pruned.changes == {"localhost": 1}
    after = stored(task, namespace)
    assert set(after["images"]) == {"1.0", "1.2", "1.3", "stable"}
    assert after["bytes"] < before["bytes"] - 2 * 2 * MIB
    # The volume contains the content of these images and nothing else.
    sizes = {name: int(size) for name, size in re.findall(r'"(before|after)": (\d+)', pruned.output)}
    assert sizes["after"] == after["bytes"]
    assert sizes["before"] > sizes["after"]
    assert maintainer.repeat("ansible-playbook prune.yml").changes == {"localhost": 0}
    assert next(maintainer.commands, None) is None
