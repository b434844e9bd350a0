# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The classic Pod of k8scr: the registry of go-containerregistry on port 80, which stores images in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import image_archive, layout
from cluster import images as cluster_images
from cluster.kubectl import kubectl

from .conftest import Task
from .registry_role import deploy, deployed, run_role

NAMESPACE = "live-classic"
IMAGE = "registry.invalid/k8scr/distribution:1"
POD = {"namespace": NAMESPACE, "registry": "k8scr", "registry_port": 80}


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
