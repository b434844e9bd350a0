# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""k8scr's classic Pod: one Pod of go-containerregistry's registry, on port 80, which keeps images in its memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import image_archive, layout
from cluster import images as cluster_images

from .conftest import Task, kubectl
from .registry_role import deploy, deployed, run_role

NAMESPACE = "live-classic"
IMAGE = "registry.invalid/k8scr/distribution:1"
WHERE = {"namespace": NAMESPACE, "registry": "k8scr", "registry_port": 80}


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A classic Pod, of an image that only the nodes have: what the role was told."""
    archive = tmp_path_factory.mktemp("classic") / "image.tar"
    image_archive.write(image_archive.Image(IMAGE, layout.BIN / "crane", command=["registry", "serve"]), archive)
    for node in layout.NODES:
        cluster_images.ctr(node, "images", "import", "--local", str(archive))
    told = {
        "registry_kind": "Pod",
        "registry_namespace": NAMESPACE,
        "registry_port": 80,
        "registry_image": IMAGE,
        "registry_environment": {"HOME": "/"},
    }
    try:
        with deployed(**told):
            yield told
    finally:
        for node in layout.NODES:
            cluster_images.ctr(node, "images", "remove", IMAGE)


def test_the_classic_pod_takes_pushes_and_gives_them_back(
    task: Task, variables: dict[str, Any], tmp_path: Path
) -> None:
    image = images.ensure("busybox")

    pushed = task("k8scr_push", images=[f"oci:{image.layout}"], **WHERE)
    again = deploy(**variables)
    wanted = [{"name": pushed["images"][0]["name"], "dest": f"oci:{tmp_path}/layout"}]
    pulled = task("k8scr_pull", images=wanted, **WHERE)

    assert pushed["changed"], pushed.get("msg")
    assert "CHANGED" not in again
    assert pulled["images"][0]["digest"] == image.digest


def test_another_classic_pod_is_refused_until_its_images_may_be_lost(variables: dict[str, Any]) -> None:
    other = {**variables, "registry_environment": {"HOME": "/tmp"}}  # noqa: S108 - a name, no file
    before = kubectl("get", "pod", "k8scr", f"--namespace={NAMESPACE}", "--output=jsonpath={.metadata.uid}")

    refused = run_role(**other)
    deploy(**other, registry_lose_images=True)

    after = kubectl("get", "pod", "k8scr", f"--namespace={NAMESPACE}", "--output=jsonpath={.metadata.uid}")
    assert refused.returncode
    assert "say so with registry_lose_images" in refused.stdout
    assert after != before
