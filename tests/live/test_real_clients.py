# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients that others wrote find what we delivered, with its digests unchanged."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import layout, programs

from .conftest import Task, kubectl
from .host_registries import HostRegistry, host_registry
from .layout_writer import LayoutWriter


def output_of(*command: str | Path) -> str:
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def push(task: Task, source: str, name: str) -> dict[str, Any]:
    result = task("k8scr_push", images=[{"source": source, "name": name}])
    assert not result.get("failed"), result["msg"]
    image: dict[str, Any] = result["images"][0]
    return image


@pytest.mark.parametrize("name", ["busybox", "multi", "multi-docker", "artifact", "layers", "debian"])
def test_crane_finds_the_digest_that_the_source_has(task: Task, repository: str, address: str, name: str) -> None:
    image = images.ensure(name)

    push(task, f"oci:{image.layout}", f"docker.io/{repository}:1")

    assert output_of(layout.BIN / "crane", "digest", f"{address}/{repository}:1") == image.digest


def test_crane_validates_every_layer_of_a_pushed_image(task: Task, repository: str, address: str) -> None:
    push(task, f"oci-archive:{images.ensure('debian').oci_archive}", f"docker.io/{repository}:1")

    output_of(layout.BIN / "crane", "validate", "--remote", f"{address}/{repository}:1")


def test_skopeo_finds_every_platform_of_a_pushed_index(task: Task, repository: str, address: str) -> None:
    push(task, f"oci:{images.ensure('multi').layout}", f"docker.io/{repository}:1")

    raw = output_of("skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{address}/{repository}:1")

    platforms = {entry["platform"]["architecture"] for entry in json.loads(raw)["manifests"]}
    assert platforms == {"amd64", "arm64"}


def test_a_docker_archive_has_its_image_id_in_the_registry(task: Task, repository: str, address: str) -> None:
    debian = images.ensure("debian")

    push(task, f"docker-archive:{debian.docker_archive}", f"docker.io/{repository}:1")

    manifest = json.loads(output_of(layout.BIN / "crane", "manifest", f"{address}/{repository}:1"))
    archive = json.loads(output_of("tar", "-xOf", debian.docker_archive, "manifest.json"))
    assert manifest["config"]["digest"].partition(":")[2] in archive[0]["Config"]


def test_skopeo_copies_a_pulled_archive(task: Task, repository: str, tmp_path: Path) -> None:
    busybox = images.ensure("busybox")
    push(task, f"oci:{busybox.layout}", f"docker.io/{repository}:1")
    archive = f"oci-archive:{tmp_path}/busybox.tar"

    task("k8scr_pull", images=[{"name": f"docker.io/{repository}:1", "dest": archive}])

    output_of("skopeo", "copy", "--all", f"{archive}:docker.io/{repository}:1", f"oci:{tmp_path}/copy:1")
    (entry,) = json.loads((tmp_path / "copy/index.json").read_text())["manifests"]
    assert entry["digest"] == busybox.digest


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[HostRegistry]:
    """A registry that clients on this machine can write to."""
    with host_registry("distribution-3", tmp_path / "registry", "real-clients") as registry:
        yield registry


def test_oras_finds_what_refers_to_an_image_where_it_was_pulled_to_and_pushed_again(
    task: Task, repository: str, writable: HostRegistry, tmp_path: Path
) -> None:
    busybox = images.ensure("busybox")
    task(
        "k8scr_push",
        images=[{"source": f"oci:{busybox.layout}", "name": f"docker.io/{repository}:1"}],
        **writable.options,
    )
    (tmp_path / "sbom.json").write_text("{}")
    oras = programs.ensure(["oras"])["oras"]
    attach = ("attach", "--plain-http", "--disable-path-validation", "--artifact-type=application/vnd.example.sbom")
    output_of(oras, *attach, f"{writable.address}/{repository}:1", f"{tmp_path}/sbom.json:application/json")
    place = f"oci:{tmp_path}/layout"

    wanted = {"name": f"docker.io/{repository}:1", "dest": place, "referrers": True}
    pulled = task("k8scr_pull", images=[wanted], **writable.options)
    source = {"source": f"{place}:docker.io/{repository}:1", "name": f"docker.io/{repository}/again:1"}
    pushed = task("k8scr_push", images=[{**source, "referrers": True}], **writable.options)

    found = [
        output_of(oras, "discover", "--format=json", *where)
        for where in (
            ("--oci-layout", f"{tmp_path}/layout@{busybox.digest}"),
            ("--plain-http", f"{writable.address}/{repository}/again:1"),
        )
    ]
    assert pulled["images"][1]["subject"] == busybox.digest, pulled.get("msg")
    assert pushed["changed"], pushed.get("msg")
    for answer in found:
        (sbom,) = json.loads(answer)["referrers"]
        assert sbom["digest"] == pulled["images"][1]["digest"]
        assert sbom["artifactType"] == "application/vnd.example.sbom"


def test_oras_gets_a_chart_that_oras_made(task: Task, repository: str, address: str, tmp_path: Path) -> None:
    oras = layout.BIN / "oras"
    (tmp_path / "chart.json").write_text('{"name": "app", "version": "1.0.0"}')
    (tmp_path / "chart.tgz").write_bytes(b"the chart")
    config = f"--config={tmp_path}/chart.json:application/vnd.cncf.helm.config.v1+json"
    chart = f"{tmp_path}/chart.tgz:application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    command = (oras, "push", "--disable-path-validation", "--oci-layout", f"{tmp_path}/layout:1.0.0", config, chart)
    output_of(*command)

    push(task, f"oci:{tmp_path}/layout:1.0.0", f"docker.io/{repository}:1.0.0")

    manifests = [
        output_of(oras, "manifest", "fetch", *where)
        for where in (
            ("--oci-layout", f"{tmp_path}/layout:1.0.0"),
            ("--plain-http", f"{address}/{repository}:1.0.0"),
        )
    ]
    layer = json.loads(manifests[1])["layers"][0]
    fetch = ("blob", "fetch", "--plain-http", "--output=-", f"{address}/{repository}@{layer['digest']}")
    assert manifests[0] == manifests[1]
    assert output_of(oras, *fetch) == "the chart"


def test_a_layer_that_is_not_to_be_distributed_stays_where_its_manifest_says(
    task: Task, repository: str, address: str, tmp_path: Path
) -> None:
    base = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": f"sha256:{hashlib.sha256(b'the base').hexdigest()}",
        "size": len(b"the base"),
        "urls": ["https://example.com/base"],
    }
    writer = LayoutWriter(tmp_path / "layout")
    digest = writer.add_layers("app", [base])

    pushed = push(task, writer.finish(), f"docker.io/{repository}:1")
    pulled = task("k8scr_pull", images=[{"name": f"docker.io/{repository}:1", "dest": f"oci:{tmp_path}/pulled"}])

    manifest = json.loads(output_of(layout.BIN / "crane", "manifest", f"{address}/{repository}:1"))
    assert pushed["digest"] == pulled["images"][0]["digest"] == digest
    assert manifest["layers"] == [base]
    assert not (tmp_path / "pulled/blobs/sha256" / str(base["digest"]).partition(":")[2]).exists()


def test_one_platform_of_an_index_is_pulled_for_podman_to_load(task: Task, repository: str, tmp_path: Path) -> None:
    push(task, f"oci:{images.ensure('multi').layout}", f"docker.io/{repository}:1")
    archive = f"docker-archive:{tmp_path}/waiter.tar"

    pulled = task(
        "k8scr_pull",
        images=[{"name": f"docker.io/{repository}:1", "dest": archive, "platforms": ["linux/arm64"]}],
    )

    assert pulled["changed"], pulled.get("msg")
    assert output_of("skopeo", "inspect", "--format={{.Architecture}}", archive) == "arm64"


def test_podman_loads_a_pulled_docker_archive(task: Task, repository: str, tmp_path: Path) -> None:
    busybox = images.ensure("busybox")
    push(task, f"oci:{busybox.layout}", f"docker.io/{repository}:1")

    archive = tmp_path / "busybox.tar"
    task("k8scr_pull", images=[{"name": f"docker.io/{repository}:1", "dest": f"docker-archive:{archive}"}])

    # Podman wants a short path for what it keeps while it runs.
    with tempfile.TemporaryDirectory() as run:
        podman = ("podman", "--root", tmp_path / "root", "--runroot", run, "--storage-driver=vfs")
        output_of(*podman, "load", "--input", archive)
        found = output_of(*podman, "images", "--no-trunc", "--format={{.ID}}", f"docker.io/{repository}:1")
    assert found == busybox.config_digest


@pytest.fixture
def host(repository: str) -> Iterator[str]:
    """A host of which the nodes pull from the registry: no other test, and no user, has its images or its file."""
    host = f"{repository.rpartition('/')[2]}.example.net"
    service = kubectl("get", "service", "k8scr", "--namespace=k8scr", "--output=jsonpath={.spec.clusterIP}")
    folders = [node.certs_d / host for node in layout.NODES]
    for folder in folders:
        folder.mkdir()
        (folder / "hosts.toml").write_text(f'[host."http://{service}:5001"]\n  capabilities = ["pull", "resolve"]\n')
    yield host
    for folder in folders:
        shutil.rmtree(folder)


def test_containerd_runs_a_pushed_image_under_its_original_name(task: Task, repository: str, host: str) -> None:
    name = f"{host}/{repository}:1"
    push(task, f"oci:{images.ensure('busybox').layout}", name)
    pod = f"runs-{repository.rpartition('/')[2]}"

    kubectl("run", pod, f"--image={name}", "--restart=Never", "--command", "--", "echo", "it runs")

    try:
        kubectl("wait", f"pod/{pod}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        assert kubectl("logs", pod) == "it runs\n"
    finally:
        kubectl("delete", "pod", pod, "--now")
