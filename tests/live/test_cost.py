# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task costs, whatever images weigh and however many they are: memory and requests."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils.oci.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from cluster import audit, layout, users

from .conftest import MODULES, Task
from .host_registries import HostRegistry, host_registry

MEBIBYTE = 1 << 20
MEMORY = 64
"""MiB that a task may have resident, Python and its libraries included."""
LAYER = "application/vnd.oci.image.layer.v1.tar"
PROGRAM = rf"""
import json, re, sys
from importlib import import_module
from ansible.module_utils.testing import patch_module_args
try:
    with patch_module_args(json.load(sys.stdin)):
        import_module("{MODULES}." + sys.argv[1]).main()
finally:
    print(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""
"""What getrusage says instead would be no less than what the tests themselves have resident, which start it."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostRegistry]:
    """A registry for one test, so that its images go with it."""
    with host_registry("distribution-3", tmp_path / "host", "cost") as registry:
        yield registry


class LayoutWriter:
    """Writes a layout of many or large images; the bytes of layers are zeros, which take no room on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[dict[str, Any]] = []
        (folder / "blobs/sha256").mkdir(parents=True)

    def add(self, name: str, layers: int, size: int) -> None:
        """Add an image with layers of so many bytes, each another."""
        config = self._blob(OCI_CONFIG, json.dumps({"name": name}).encode())
        described = [self._layer(size + number) for number in range(layers)]
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": described}
        entry = self._blob(OCI_MANIFEST, json.dumps(manifest).encode())
        self.entries.append({**entry, "annotations": {"org.opencontainers.image.ref.name": name}})

    def finish(self) -> str:
        """Write the index; how a task means the layout comes back."""
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.entries}
        (self.folder / "index.json").write_text(json.dumps(index))
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return f"oci:{self.folder}"

    def _layer(self, size: int) -> dict[str, Any]:
        hasher = hashlib.sha256()
        for start in range(0, size, MEBIBYTE):
            hasher.update(bytes(min(MEBIBYTE, size - start)))
        path = self.folder / "blobs/sha256" / hasher.hexdigest()
        with path.open("wb") as file:
            file.truncate(size)
        return {"mediaType": LAYER, "digest": f"sha256:{hasher.hexdigest()}", "size": size}

    def _blob(self, media_type: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def memory_of(module: str, **options: Any) -> float:
    """MiB that a task had resident at most; it must have changed something."""
    arguments = json.dumps({"kubeconfig": str(layout.KUBECONFIG), **options})
    command = [sys.executable, "-c", PROGRAM, module]
    done = subprocess.run(command, input=arguments, capture_output=True, text=True, check=False)
    result = json.loads(done.stdout)
    assert result.get("changed"), result.get("msg")
    return int(done.stderr.splitlines()[-1]) / 1024


def test_memory_does_not_grow_with_the_size_of_an_image(host: HostRegistry, tmp_path: Path) -> None:
    large = LayoutWriter(tmp_path / "large")
    large.add("example.com/large:1", layers=4, size=512 * MEBIBYTE)
    image = {"name": "example.com/large:1", "dest": f"oci-archive:{tmp_path}/large.tar"}

    assert memory_of("k8scr_push", images=[large.finish()], **host.options) < MEMORY
    assert memory_of("k8scr_pull", images=[image], **host.options) < MEMORY


def test_memory_does_not_grow_with_the_number_of_images(host: HostRegistry, tmp_path: Path) -> None:
    many = LayoutWriter(tmp_path / "many")
    names = [f"example.com/many/image-{number}:1" for number in range(1000)]
    for name in names:
        many.add(name, layers=1, size=1000)
    wanted = [{"name": name, "dest": f"oci:{tmp_path}/pulled"} for name in names]

    assert memory_of("k8scr_push", images=[many.finish()], **host.options) < MEMORY
    assert memory_of("k8scr_pull", images=wanted, **host.options) < MEMORY


def test_a_hundred_images_that_are_there_cost_a_hundred_requests(
    task: Task, host: HostRegistry, tmp_path: Path
) -> None:
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


def test_a_blob_that_all_images_share_is_sent_once(task: Task, host: HostRegistry, tmp_path: Path) -> None:
    many = LayoutWriter(tmp_path / "many")
    for number in range(20):
        many.add(f"example.com/many/image-{number}:1", layers=1, size=3 * MEBIBYTE)

    result = task("k8scr_push", images=[many.finish()], connections=8, **host.options)

    sent = [blob["digest"] for image in result["images"] for blob in image["blobs"] if blob["action"] == "sent"]
    assert len(sent) == len(set(sent)) == 21
