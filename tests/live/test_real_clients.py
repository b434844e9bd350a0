# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Other registry clients and container runtimes find pushed and pulled images with unchanged digests."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cluster import layout, programs
from cluster.kubectl import kubectl

from .conftest import Task
from .host_registries import HostRegistry, host_registry
from .image_tasks import pull, pull_entry, push_entry
from .layout_writer import LayoutWriter
from .mirrored_host import mirrored


def output_of(*command: str | Path) -> str:
    arguments = [str(argument) for argument in command]
    return subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def push_image(task: Task, source: images.Image | str, repository: str, **more: Any) -> dict[str, Any]:
    """Push the image of :func:`push_entry`, with further keys of it, and return the image's entry in the result."""
    result = task("k8scr_push", images=[push_entry(source, repository, **more)])
    assert not result.get("failed"), result["msg"]
    image: dict[str, Any] = result["images"][0]
    return image


@pytest.mark.parametrize("name", ["busybox", "multi", "multi-docker", "artifact", "layers", "debian"])
def test_crane_finds_digest_of_source_after_push(task: Task, repository: str, address: str, name: str) -> None:
    image = images.ensure(name)

    push_image(task, image, repository)

    assert output_of(layout.BIN / "crane", "digest", f"{address}/{repository}:1") == image.digest


def test_crane_validates_every_layer_of_pushed_image(task: Task, repository: str, address: str) -> None:
    push_image(task, f"oci-archive:{images.ensure('debian').oci_archive}", repository)

    output_of(layout.BIN / "crane", "validate", "--remote", f"{address}/{repository}:1")


def test_skopeo_finds_every_platform_of_pushed_index(task: Task, repository: str, address: str) -> None:
    push_image(task, images.ensure("multi"), repository)

    raw = output_of("skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{address}/{repository}:1")

    platforms = {entry["platform"]["architecture"] for entry in json.loads(raw)["manifests"]}
    assert platforms == {"amd64", "arm64"}


def test_push_of_docker_archive_preserves_image_id(task: Task, repository: str, address: str) -> None:
    debian = images.ensure("debian")

    push_image(task, f"docker-archive:{debian.docker_archive}", repository)

    manifest = json.loads(output_of(layout.BIN / "crane", "manifest", f"{address}/{repository}:1"))
    archive = json.loads(output_of("tar", "-xOf", debian.docker_archive, "manifest.json"))
    assert manifest["config"]["digest"].partition(":")[2] in archive[0]["Config"]


def test_skopeo_copies_pulled_archive(task: Task, repository: str, tmp_path: Path) -> None:
    busybox = images.ensure("busybox")
    push_image(task, busybox, repository)
    archive = f"oci-archive:{tmp_path}/busybox.tar"

    pull(task, repository, archive)

    output_of("skopeo", "copy", "--all", f"{archive}:docker.io/{repository}:1", f"oci:{tmp_path}/copy:1")
    (entry,) = json.loads((tmp_path / "copy/index.json").read_text())["manifests"]
    assert entry["digest"] == busybox.digest


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[HostRegistry]:
    """A registry to which clients on this machine can write."""
    with host_registry("distribution-3", tmp_path / "registry", "real-clients") as registry:
        yield registry


def test_oras_finds_referrers_after_pull_and_push(
    task: Task, repository: str, writable: HostRegistry, tmp_path: Path
) -> None:
    busybox = images.ensure("busybox")
    task("k8scr_push", images=[push_entry(busybox, repository)], **writable.options)
    (tmp_path / "sbom.json").write_text("{}")
    oras = programs.ensure(["oras"])["oras"]
    attach = ("attach", "--plain-http", "--disable-path-validation", "--artifact-type=application/vnd.example.sbom")
    output_of(oras, *attach, f"{writable.address}/{repository}:1", f"{tmp_path}/sbom.json:application/json")
    dest = f"oci:{tmp_path}/layout"

    to_pull = pull_entry(repository, dest, referrers=True)
    pulled = task("k8scr_pull", images=[to_pull], **writable.options)
    to_push = push_entry(f"{dest}:docker.io/{repository}:1", f"{repository}/again", referrers=True)
    pushed = task("k8scr_push", images=[to_push], **writable.options)

    outputs = [
        output_of(oras, "discover", "--format=json", *location)
        for location in (
            ("--oci-layout", f"{tmp_path}/layout@{busybox.digest}"),
            ("--plain-http", f"{writable.address}/{repository}/again:1"),
        )
    ]
    assert pulled["images"][1]["subject"] == busybox.digest, pulled.get("msg")
    assert pushed["changed"], pushed.get("msg")
    for output in outputs:
        (sbom,) = json.loads(output)["referrers"]
        assert sbom["digest"] == pulled["images"][1]["digest"]
        assert sbom["artifactType"] == "application/vnd.example.sbom"


def test_oras_fetches_pushed_chart_of_oras(task: Task, repository: str, address: str, tmp_path: Path) -> None:
    oras = layout.BIN / "oras"
    (tmp_path / "chart.json").write_text('{"name": "app", "version": "1.0.0"}')
    (tmp_path / "chart.tgz").write_bytes(b"the chart")
    config = f"--config={tmp_path}/chart.json:application/vnd.cncf.helm.config.v1+json"
    chart = f"{tmp_path}/chart.tgz:application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    command = (oras, "push", "--disable-path-validation", "--oci-layout", f"{tmp_path}/layout:1.0.0", config, chart)
    output_of(*command)

    push_image(task, f"oci:{tmp_path}/layout:1.0.0", repository, name=f"docker.io/{repository}:1.0.0")

    manifests = [
        output_of(oras, "manifest", "fetch", *location)
        for location in (
            ("--oci-layout", f"{tmp_path}/layout:1.0.0"),
            ("--plain-http", f"{address}/{repository}:1.0.0"),
        )
    ]
    layer = json.loads(manifests[1])["layers"][0]
    fetch = ("blob", "fetch", "--plain-http", "--output=-", f"{address}/{repository}@{layer['digest']}")
    assert manifests[0] == manifests[1]
    assert output_of(oras, *fetch) == "the chart"


def test_push_and_pull_skip_nondistributable_layer(task: Task, repository: str, address: str, tmp_path: Path) -> None:
    base = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": f"sha256:{hashlib.sha256(b'the base').hexdigest()}",
        "size": len(b"the base"),
        "urls": ["https://example.com/base"],
    }
    writer = LayoutWriter(tmp_path / "layout")
    digest = writer.add_layers("app", [base])

    pushed = push_image(task, writer.finish(), repository)
    pulled = pull(task, repository, f"oci:{tmp_path}/pulled")

    manifest = json.loads(output_of(layout.BIN / "crane", "manifest", f"{address}/{repository}:1"))
    assert pushed["digest"] == pulled["images"][0]["digest"] == digest
    assert manifest["layers"] == [base]
    assert not (tmp_path / "pulled/blobs/sha256" / str(base["digest"]).partition(":")[2]).exists()


def test_pull_writes_one_platform_of_index_to_docker_archive(task: Task, repository: str, tmp_path: Path) -> None:
    push_image(task, images.ensure("multi"), repository)
    archive = f"docker-archive:{tmp_path}/waiter.tar"

    pulled = task("k8scr_pull", images=[pull_entry(repository, archive, platforms=["linux/arm64"])])

    assert pulled["changed"], pulled.get("msg")
    assert output_of("skopeo", "inspect", "--format={{.Architecture}}", archive) == "arm64"


def test_podman_loads_pulled_docker_archive(task: Task, repository: str, tmp_path: Path) -> None:
    busybox = images.ensure("busybox")
    push_image(task, busybox, repository)

    archive = tmp_path / "busybox.tar"
    pull(task, repository, f"docker-archive:{archive}")

    # Podman requires a short path for its runtime folder.
    with tempfile.TemporaryDirectory() as run:
        podman = ("podman", "--root", tmp_path / "root", "--runroot", run, "--storage-driver=vfs")
        output_of(*podman, "load", "--input", archive)
        found = output_of(*podman, "images", "--no-trunc", "--format={{.ID}}", f"docker.io/{repository}:1")
    assert found == busybox.config_digest


@pytest.fixture
def host(repository: str) -> Iterator[str]:
    """A host whose images the nodes pull from the registry. No other test and no user has images or files for it."""
    host = f"{repository.rpartition('/')[2]}.example.net"
    with mirrored(host):
        yield host


def test_containerd_runs_pushed_image_under_its_original_name(task: Task, repository: str, host: str) -> None:
    name = f"{host}/{repository}:1"
    push_image(task, images.ensure("busybox"), repository, name=name)
    pod = f"runs-{repository.rpartition('/')[2]}"

    kubectl("run", pod, f"--image={name}", "--restart=Never", "--command", "--", "echo", "it runs")

    try:
        kubectl("wait", f"pod/{pod}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        assert kubectl("logs", pod) == "it runs\n"
    finally:
        kubectl("delete", "pod", pod, "--now")
