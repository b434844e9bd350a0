# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Failed tasks return a message of one line that names the cause, and leave no incomplete image."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import layout
from cluster.kubectl import kubectl

from .conftest import Task
from .host_registries import pod_at
from .image_tasks import pull, push

Push = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def busybox() -> images.Image:
    """A small image."""
    return images.ensure("busybox")


@pytest.fixture
def push_busybox(task: Task, busybox: images.Image, repository: str) -> Push:
    """Pushes a small image with options of the module and returns the result."""

    def run(**options: Any) -> dict[str, Any]:
        return push(task, busybox, repository, **options)

    return run


@pytest.fixture
def layout_copy(tmp_path: Path) -> Path:
    """A copy of an image with thirty layers, for tests that damage it."""
    return shutil.copytree(images.ensure("layers").layout, tmp_path / "layout")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def assert_has_one_reason(message: str) -> None:
    """Check that a message about one failed image has one line after the number of failed images."""
    count, reason = message.split("\n") if "\n" in message else ("", message)
    assert count in ("", "1 of 1 images failed.")
    assert reason.isprintable()
    assert "Traceback" not in message


def first_layer(folder: Path) -> Path:
    blobs = folder / "blobs/sha256"
    (entry,) = json.loads((folder / "index.json").read_text())["manifests"]
    manifest = json.loads((blobs / entry["digest"].partition(":")[2]).read_text())
    return Path(blobs / manifest["layers"][0]["digest"].partition(":")[2])


def test_push_fails_without_api_server_at_address(push_busybox: Push) -> None:
    result = push_busybox(kubeconfig=None, host="https://127.0.0.1:1", api_key="a-secret-token")

    assert "cannot connect to the API server 127.0.0.1:1" in result["msg"]
    assert "a-secret-token" not in json.dumps(result)
    assert_has_one_reason(result["msg"])


def test_push_fails_when_kubeconfig_is_missing(push_busybox: Push) -> None:
    result = push_busybox(kubeconfig="/no/such/kubeconfig")

    assert "/no/such/kubeconfig does not exist" in result["msg"]


def test_push_fails_when_api_server_rejects_credentials(push_busybox: Push) -> None:
    ca = layout.PKI / "ca.crt"

    result = push_busybox(kubeconfig=None, host=layout.API_URL, api_key="a-secret-token", ca_cert=str(ca))

    assert "does not accept the credentials" in result["msg"]
    assert "a-secret-token" not in json.dumps(result)


def test_push_fails_when_certificate_of_api_server_is_not_trusted(push_busybox: Push) -> None:
    result = push_busybox(kubeconfig=None, host=layout.API_URL, api_key="token")

    assert "the certificate of the API server 127.0.0.1:6443 is not trusted" in result["msg"]


def test_push_fails_when_pod_is_missing(push_busybox: Push) -> None:
    result = push_busybox(registry="nobody-0")

    assert "there is no Pod nobody-0 in namespace k8scr" in result["msg"]
    assert "k8scr.core.registry" in result["msg"]
    assert_has_one_reason(result["msg"])


def test_push_fails_when_pod_is_not_ready(push_busybox: Push) -> None:
    pod = {"image": "registry.invalid/no/such:1", "name": "app"}
    spec = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waits"}, "spec": {"containers": [pod]}}
    kubectl("apply", "--filename=-", stdin=json.dumps(spec))
    kubectl("wait", "pod/waits", "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}", "--timeout=60s")

    result = push_busybox(namespace="default", registry="waits")

    kubectl("delete", "pod", "waits", "--now")
    assert "Pod waits in namespace default" in result["msg"]
    assert "Pending and not ready" in result["msg"]
    assert_has_one_reason(result["msg"])


def test_push_fails_when_pod_port_is_closed(push_busybox: Push) -> None:
    result = push_busybox(registry_port=5999)

    assert "cannot reach Pod k8scr-0 in namespace k8scr at port 5999" in result["msg"]


def test_push_fails_when_api_server_cannot_reach_pod_network(push_busybox: Push) -> None:
    # An unused address in the network of the machines.
    with pod_at(str(layout.MACHINES[250]), "unroutable"):
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        status = ("--namespace=default", "pod", "unroutable", "--subresource=status", "--type=merge")
        kubectl("patch", *status, f"--patch={json.dumps({'status': ready})}")

        result = push_busybox(namespace="default", registry="unroutable", retry_timeout=1)

    assert "the API server cannot reach Pod unroutable in namespace default at port 5000" in result["msg"]
    assert "it is Running" in result["msg"]
    assert "run the registry with hostNetwork: true" in result["msg"]
    assert_has_one_reason(result["msg"])


def test_push_fails_when_source_is_missing(task: Task, repository: str) -> None:
    result = push(task, "oci-archive:/no/such.tar", repository)

    assert "/no/such.tar does not exist" in result["msg"]


def test_push_fails_when_source_is_not_an_image(task: Task, repository: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an image")

    result = push(task, f"oci-archive:{tmp_path}/notes.txt", repository)

    assert "notes.txt" in result["msg"]
    assert_has_one_reason(result["msg"])


def test_push_creates_no_tag_from_truncated_archive(task: Task, repository: str, tmp_path: Path) -> None:
    archive = tmp_path / "cut.tar"
    shutil.copyfile(images.ensure("debian").oci_archive, archive)
    os.truncate(archive, archive.stat().st_size // 2)

    result = push(task, f"oci-archive:{archive}", repository)

    assert result["failed"]
    assert not result["changed"]
    assert "cut.tar" in result["msg"]
    assert_has_one_reason(result["msg"])
    assert not tag_exists(task, repository)


def test_push_names_damaged_blob_of_source(task: Task, repository: str, layout_copy: Path) -> None:
    blob = first_layer(layout_copy)
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)

    result = push(task, f"oci:{layout_copy}", repository)

    assert f"blob sha256:{blob.name} in the folder {layout_copy} is damaged" in result["msg"]
    assert not tag_exists(task, repository)


def test_push_creates_no_tag_when_blob_is_missing(task: Task, repository: str, layout_copy: Path) -> None:
    blob = first_layer(layout_copy)
    blob.unlink()

    result = push(task, f"oci:{layout_copy}", repository)

    assert f"does not have the blob sha256:{blob.name}" in result["msg"]
    assert not tag_exists(task, repository)


@pytest.mark.parametrize("transport", ["oci:{}/layout", "oci-archive:{}/a.tar", "docker-archive:{}/a.tar"])
def test_pull_leaves_no_incomplete_file_when_disk_is_full(
    task: Task, busybox: images.Image, repository: str, small_disk: Path, transport: str
) -> None:
    push(task, busybox, f"{repository}/busybox")
    push(task, images.ensure("debian"), f"{repository}/debian")

    result = pull(task, f"{repository}/debian", transport.format(small_disk))

    assert result["failed"]
    assert not result["changed"]
    assert "No space left on device" in result["msg"]
    assert_has_one_reason(result["msg"])
    # A layout may keep complete blobs, so that the next run does not download them again.
    files = [path.name for path in small_disk.rglob("*") if path.is_file() and path.name != "oci-layout"]
    assert [name for name in files if not re.fullmatch("[0-9a-f]{64}", name)] == []


def test_failed_pull_preserves_existing_archive(task: Task, repository: str, small_disk: Path) -> None:
    push(task, images.ensure("layers"), f"{repository}/layers")
    push(task, images.ensure("debian"), f"{repository}/debian")
    dest = f"oci-archive:{small_disk}/images.tar"
    pull(task, f"{repository}/layers", dest)
    before = (small_disk / "images.tar").read_bytes()

    failed = pull(task, f"{repository}/debian", dest)

    assert "No space left on device" in failed["msg"]
    assert (small_disk / "images.tar").read_bytes() == before
    assert [path.name for path in small_disk.iterdir()] == ["images.tar"]


def tag_exists(task: Task, repository: str) -> bool:
    """Return whether the repository has the tag 1."""
    found = pull(task, repository, "oci:/no/such/layout", check_mode=True)
    return "there is no image" not in found.get("msg", "")
