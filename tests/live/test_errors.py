# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong is said in a line that one can act on, and leaves nothing half done."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import layout

from .conftest import Task, kubectl
from .host_registries import pod_at


def push(task: Task, source: str, repository: str, **options: Any) -> dict[str, Any]:
    return task("k8scr_push", images=[{"source": source, "name": f"docker.io/{repository}:1"}], **options)


def busybox() -> str:
    return f"oci:{images.ensure('busybox').layout}"


@pytest.fixture
def layout_copy(tmp_path: Path) -> Path:
    """A copy of an image with thirty layers, to be damaged."""
    return shutil.copytree(images.ensure("layers").layout, tmp_path / "layout")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def assert_is_one_line(message: str) -> None:
    assert "\n" not in message
    assert "Traceback" not in message


def first_layer(folder: Path) -> Path:
    blobs = folder / "blobs/sha256"
    (entry,) = json.loads((folder / "index.json").read_text())["manifests"]
    manifest = json.loads((blobs / entry["digest"].partition(":")[2]).read_text())
    return Path(blobs / manifest["layers"][0]["digest"].partition(":")[2])


def test_no_cluster_at_the_address(task: Task, repository: str) -> None:
    result = push(task, busybox(), repository, kubeconfig=None, host="https://127.0.0.1:1", api_key="a-secret-token")

    assert "cannot connect to the API server 127.0.0.1:1" in result["msg"]
    assert "a-secret-token" not in json.dumps(result)
    assert_is_one_line(result["msg"])


def test_a_kubeconfig_that_does_not_exist(task: Task, repository: str) -> None:
    result = push(task, busybox(), repository, kubeconfig="/no/such/kubeconfig")

    assert "/no/such/kubeconfig does not exist" in result["msg"]


def test_credentials_that_are_not_accepted(task: Task, repository: str) -> None:
    ca = layout.PKI / "ca.crt"
    options = {"kubeconfig": None, "host": layout.API_URL, "api_key": "a-secret-token", "ca_cert": str(ca)}

    result = push(task, busybox(), repository, **options)

    assert "does not accept the credentials" in result["msg"]
    assert "a-secret-token" not in json.dumps(result)


def test_a_server_whose_certificate_is_not_trusted(task: Task, repository: str) -> None:
    result = push(task, busybox(), repository, kubeconfig=None, host=layout.API_URL, api_key="token")

    assert "the certificate of the API server 127.0.0.1:6443 is not trusted" in result["msg"]


def test_no_such_pod(task: Task, repository: str) -> None:
    result = push(task, busybox(), repository, registry="nobody-0")

    assert "there is no Pod nobody-0 in namespace k8scr" in result["msg"]
    assert "k8scr.core.registry" in result["msg"]
    assert_is_one_line(result["msg"])


def test_a_pod_that_is_not_ready(task: Task, repository: str) -> None:
    pod = {"image": "registry.invalid/no/such:1", "name": "app"}
    spec = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waits"}, "spec": {"containers": [pod]}}
    kubectl("apply", "--filename=-", stdin=json.dumps(spec))
    kubectl("wait", "pod/waits", "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}", "--timeout=30s")

    result = push(task, busybox(), repository, namespace="default", registry="waits")

    kubectl("delete", "pod", "waits", "--now")
    assert "Pod waits in namespace default" in result["msg"]
    assert "Pending and not ready" in result["msg"]
    assert_is_one_line(result["msg"])


def test_a_port_that_nobody_listens_on(task: Task, repository: str) -> None:
    result = push(task, busybox(), repository, registry_port=5999)

    assert "cannot reach Pod k8scr-0 in namespace k8scr at port 5999" in result["msg"]


def test_a_pod_network_that_is_out_of_reach(task: Task, repository: str) -> None:
    # An address in the machines' network that is no machine's.
    with pod_at(str(layout.MACHINES[250]), "unroutable"):
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        where = ("--namespace=default", "pod", "unroutable", "--subresource=status", "--type=merge")
        kubectl("patch", *where, f"--patch={json.dumps({'status': ready})}")

        result = push(task, busybox(), repository, namespace="default", registry="unroutable", retry_timeout=1)

    assert "the API server cannot reach Pod unroutable in namespace default at port 5000" in result["msg"]
    assert "it is Running" in result["msg"]
    assert "run the registry with hostNetwork: true" in result["msg"]
    assert_is_one_line(result["msg"])


def test_a_source_that_is_missing(task: Task, repository: str) -> None:
    result = push(task, "oci-archive:/no/such.tar", repository)

    assert "/no/such.tar does not exist" in result["msg"]


def test_a_source_that_is_no_image(task: Task, repository: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an image")

    result = push(task, f"oci-archive:{tmp_path}/notes.txt", repository)

    assert "notes.txt" in result["msg"]
    assert_is_one_line(result["msg"])


def test_an_archive_that_is_truncated_leaves_no_tag(task: Task, repository: str, tmp_path: Path) -> None:
    archive = tmp_path / "cut.tar"
    shutil.copyfile(images.ensure("debian").oci_archive, archive)
    os.truncate(archive, archive.stat().st_size // 2)

    result = push(task, f"oci-archive:{archive}", repository)

    assert result["failed"]
    assert not result["changed"]
    assert "cut.tar" in result["msg"]
    assert_is_one_line(result["msg"])
    assert not is_there(task, repository)


def test_a_blob_that_is_damaged_is_found_to_be_the_sources_fault(
    task: Task, repository: str, layout_copy: Path
) -> None:
    blob = first_layer(layout_copy)
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)

    result = push(task, f"oci:{layout_copy}", repository)

    assert f"blob sha256:{blob.name} in the folder {layout_copy} is damaged" in result["msg"]
    assert not is_there(task, repository)


def test_a_blob_that_is_missing_leaves_no_tag(task: Task, repository: str, layout_copy: Path) -> None:
    blob = first_layer(layout_copy)
    blob.unlink()

    result = push(task, f"oci:{layout_copy}", repository)

    assert f"does not have the blob sha256:{blob.name}" in result["msg"]
    assert not is_there(task, repository)


@pytest.mark.parametrize("transport", ["oci:{}/layout", "oci-archive:{}/a.tar", "docker-archive:{}/a.tar"])
def test_a_disk_that_is_full_is_left_as_it_was(task: Task, repository: str, small_disk: Path, transport: str) -> None:
    push(task, busybox(), f"{repository}/busybox")
    push(task, f"oci:{images.ensure('debian').layout}", f"{repository}/debian")
    dest = transport.format(small_disk)

    result = task("k8scr_pull", images=[{"name": f"docker.io/{repository}/debian:1", "dest": dest}])

    assert result["failed"]
    assert not result["changed"]
    assert "No space left on device" in result["msg"]
    assert_is_one_line(result["msg"])
    # Blobs that are whole may stay in a layout, for the next run to go on from.
    left = [path.name for path in small_disk.rglob("*") if path.is_file() and path.name != "oci-layout"]
    assert [name for name in left if not re.fullmatch("[0-9a-f]{64}", name)] == []


def test_an_archive_that_is_there_survives_a_pull_that_fails(task: Task, repository: str, small_disk: Path) -> None:
    layers = f"oci:{images.ensure('layers').layout}"
    push(task, layers, f"{repository}/layers")
    push(task, f"oci:{images.ensure('debian').layout}", f"{repository}/debian")
    dest = f"oci-archive:{small_disk}/images.tar"
    task("k8scr_pull", images=[{"name": f"docker.io/{repository}/layers:1", "dest": dest}])
    before = (small_disk / "images.tar").read_bytes()

    failed = task("k8scr_pull", images=[{"name": f"docker.io/{repository}/debian:1", "dest": dest}])

    assert "No space left on device" in failed["msg"]
    assert (small_disk / "images.tar").read_bytes() == before
    assert [path.name for path in small_disk.iterdir()] == ["images.tar"]


def is_there(task: Task, repository: str) -> bool:
    """Whether the registry has a tag 1 in the repository."""
    image = {"name": f"docker.io/{repository}:1", "dest": "oci:/no/such/layout"}
    found = task("k8scr_pull", check_mode=True, images=[image])
    return "there is no image" not in found.get("msg", "")
