# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory and requests of a task, with large images and with many images."""

from __future__ import annotations

from pathlib import Path

from cluster import audit, users
from images.sizes import MIB

from .conftest import Task
from .host_registries import HostRegistry
from .layout_writer import LayoutWriter
from .separate_process import MEMORY, peak_memory


def test_memory_stays_constant_with_large_image(host: HostRegistry, tmp_path: Path) -> None:
    large = LayoutWriter(tmp_path / "large")
    large.add("example.com/large:1", layers=4, size=128 * MIB)
    image = {"name": "example.com/large:1", "dest": f"oci-archive:{tmp_path}/large.tar"}

    assert peak_memory("k8scr_push", images=[large.finish()], **host.options) < MEMORY
    assert peak_memory("k8scr_pull", images=[image], **host.options) < MEMORY


def test_memory_grows_little_with_number_of_images(host: HostRegistry, tmp_path: Path) -> None:
    few, many = (peaks_with_images(host, tmp_path / f"{count}", count) for count in (100, 1000))

    for module, peak in many.items():
        assert peak < few[module] + 20, module
        assert peak < MEMORY, module


def peaks_with_images(host: HostRegistry, folder: Path, count: int) -> dict[str, float]:
    """Push and pull small images and return the peak memory of both tasks in MiB."""
    layout = LayoutWriter(folder / "layout")
    names = [f"example.com/{count}/image-{number}:1" for number in range(count)]
    for name in names:
        layout.add(name, layers=1, size=1000)
    source = layout.finish()
    pushed = [f"{source}:{name}" for name in names]
    pulled = [{"name": name, "dest": f"oci:{folder}/pulled"} for name in names]
    return {
        module: peak_memory(module, images=entries, **host.options)
        for module, entries in (("k8scr_push", pushed), ("k8scr_pull", pulled))
    }


def test_push_sends_one_request_for_each_existing_image(task: Task, host: HostRegistry, tmp_path: Path) -> None:
    many = LayoutWriter(tmp_path / "many")
    for number in range(100):
        many.add(f"example.com/many/image-{number}:1", layers=1, size=1000)
    source = many.finish()
    task("k8scr_push", images=[source], **host.options)
    kubeconfig = str(users.make("counted", ["system:masters"]))
    audit.settle()
    position = audit.position()

    result = task("k8scr_push", images=[source], kubeconfig=kubeconfig, **host.options)

    audit.settle()
    assert not result["changed"], result.get("msg")
    assert len([event for event in audit.events(position) if event["user"]["username"] == "counted"]) == 100


def test_push_uploads_shared_blob_once(task: Task, host: HostRegistry, tmp_path: Path) -> None:
    many = LayoutWriter(tmp_path / "many")
    for number in range(20):
        many.add(f"example.com/many/image-{number}:1", layers=1, size=3 * MIB)

    result = task("k8scr_push", images=[many.finish()], connections=8, **host.options)

    sent = [blob["digest"] for image in result["images"] for blob in image["blobs"] if blob["action"] == "sent"]
    assert len(sent) == len(set(sent)) == 21
