# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bundles of images of a real registry: other tools read them, and deltas are delivered to the cluster."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import images
import pytest
import yaml
from cluster import layout, programs

from .conftest import Task
from .guide_pages import read_guide, run_command
from .host_registries import HostRegistry
from .layout_writer import LayoutWriter
from .upstream_registries import upstream_registry

pytestmark = pytest.mark.concurrent

IMAGES = ("busybox", "multi", "artifact")
Bundle = Callable[..., dict[str, Any]]


def output_of(*command: str | Path) -> bytes:
    """Run a command and return its output."""
    return subprocess.run([str(each) for each in command], check=True, stdout=subprocess.PIPE).stdout


def copy_to(registry: HostRegistry, source: str, name: str) -> None:
    """Copy an image with all platforms to a registry by skopeo."""
    destination = f"docker://{registry.address}/{name}"
    output_of("skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false", source, destination)


def upstreams_of(registry: HostRegistry) -> list[dict[str, Any]]:
    """Return the option ``upstreams`` for a registry without TLS."""
    return [{"host": registry.address, "plain_http": True}]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """An upstream registry with images of one platform, of several, and of another kind."""
    with upstream_registry("distribution-3", tmp_path_factory.mktemp("upstream")) as registry:
        for name in IMAGES:
            copy_to(registry, f"oci:{images.ensure(name).layout}", f"team/{name}:1")
        yield registry


@pytest.fixture
def bundle(task: Task, upstream: HostRegistry) -> Bundle:
    """Makes a bundle of images of the upstream registry, by default of all. Returns the result."""

    def run(dest: object, *names: str, **options: Any) -> dict[str, Any]:
        sources = [f"docker://{upstream.address}/team/{name}" for name in names or [f"{each}:1" for each in IMAGES]]
        result = task("k8scr_bundle", dest=str(dest), images=sources, upstreams=upstreams_of(upstream), **options)
        assert not result.get("failed"), result["msg"]
        return result

    return run


@pytest.fixture
def names(upstream: HostRegistry) -> dict[str, str]:
    """The digests of the images by their full names."""
    return {f"{upstream.address}/team/{name}:1": images.ensure(name).digest for name in IMAGES}


@pytest.mark.parametrize("dest", ["oci:{}/out", "oci-archive:{}/out.tar"])
def test_skopeo_reads_images_of_bundle_by_their_names(
    bundle: Bundle, names: dict[str, str], dest: str, tmp_path: Path
) -> None:
    location = dest.format(tmp_path)

    bundle(location)

    for name, digest in names.items():
        raw = output_of("skopeo", "inspect", "--raw", f"{location}:{name}")
        assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == digest
        target = tmp_path / digest[7:]
        output_of("skopeo", "--insecure-policy", "copy", "--quiet", "--all", f"{location}:{name}", f"oci:{target}:copy")
        (entry,) = json.loads((target / "index.json").read_text())["manifests"]
        assert entry["digest"] == digest


@pytest.mark.parametrize("dest", ["oci:{}/out", "oci-archive:{}/out.tar"])
def test_podman_pulls_image_of_bundle(bundle: Bundle, names: dict[str, str], dest: str, tmp_path: Path) -> None:
    location = dest.format(tmp_path)

    bundle(location)

    name = next(name for name in names if "busybox" in name)
    # podman accepts only short paths.
    with TemporaryDirectory(prefix="podman-") as folder:
        storage = [f"--root={folder}/root", f"--runroot={folder}/run", "--storage-driver=vfs"]
        pulled = output_of("podman", *storage, "pull", "--quiet", f"{location}:{name}").decode().strip()
    config = json.loads(output_of("skopeo", "inspect", "--raw", f"{location}:{name}"))["config"]["digest"]
    assert config == f"sha256:{pulled}"


def test_crane_pushes_and_validates_bundle(bundle: Bundle, upstream: HostRegistry, tmp_path: Path) -> None:
    crane, target = layout.BIN / "crane", f"{upstream.address}/copies/all:1"

    bundle(tmp_path / "out", "busybox:1", "multi:1")

    output_of(crane, "push", "--insecure", "--index", tmp_path / "out", target)
    output_of(crane, "validate", "--insecure", "--remote", target)


def test_oras_copies_artifact_of_bundle(
    bundle: Bundle, names: dict[str, str], upstream: HostRegistry, tmp_path: Path
) -> None:
    oras, digest = programs.ensure(["oras"])["oras"], images.ensure("artifact").digest

    bundle(tmp_path / "out")

    for each in names.values():
        raw = output_of(oras, "manifest", "fetch", "--oci-layout", f"{tmp_path}/out@{each}")
        assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == each
    source = ("--from-oci-layout", f"{tmp_path}/out@{digest}")
    output_of(oras, "copy", *source, "--to-plain-http", f"{upstream.address}/copies/artifact:1")


def test_sha256sum_verifies_bundle(bundle: Bundle, tmp_path: Path) -> None:
    bundle(tmp_path / "out")

    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=True)


def test_delta_by_report_of_cluster_is_delivered(
    task: Task, bundle: Bundle, upstream: HostRegistry, repository: str, tmp_path: Path
) -> None:
    path = repository.partition("/")[2]
    for tag, layers in (("1", 2), ("2", 3)):
        writer = LayoutWriter(tmp_path / tag)
        writer.add(f"example.com/team/{path}:{tag}", layers, 1 << 20)
        copy_to(upstream, f"{writer.finish()}:example.com/team/{path}:{tag}", f"team/{path}:{tag}")
    bundle(tmp_path / "first", f"{path}:1")
    assert not task("k8scr_push", images=[f"bundle:{tmp_path}/first"]).get("failed")
    report = task("k8scr_info", repositories=[f"team/{path}"])
    (tmp_path / "far-side.json").write_text(json.dumps(report))

    made = bundle(tmp_path / "delta", f"{path}:1", f"{path}:2", since=str(tmp_path / "far-side.json"))
    pushed = task("k8scr_push", images=[f"bundle:{tmp_path}/delta"])

    assert [each.get("left_out") for each in made["images"]] == [True, None]
    assert not pushed.get("failed"), pushed["msg"]
    assert pushed["images"][0]["digest"] == made["images"][1]["digest"]


def test_play_of_guide_makes_and_verifies_bundle(upstream: HostRegistry, tmp_path: Path) -> None:
    for source, name in (("busybox", "team/api:1.2"), ("multi", "team/web:2.1"), ("busybox", "library/registry:3")):
        copy_to(upstream, f"oci:{images.ensure(source).layout}", name)
    replaced = {"registry.example.com": upstream.address, "/media/out": str(tmp_path / "out")}
    guide = read_guide("guide_bundle.rst", replaced)
    (tmp_path / "app.yml").write_text("kind: List\n")
    plays = yaml.safe_load(guide.files["medium.yml"])
    plays[0]["module_defaults"] = {"k8scr.core.k8scr_bundle": {"upstreams": upstreams_of(upstream)}}
    (tmp_path / "medium.yml").write_text(yaml.safe_dump(plays))

    previewed, made, again = (
        run_command(command, tmp_path, layout.KUBECONFIG) for command in (*guide.commands[:2], guide.commands[1])
    )

    assert [each.changes["localhost"] for each in (previewed, made, again)] == [1, 1, 0]
    assert (tmp_path / "out/registry.tar").is_file()
    assert (tmp_path / "out/extras/files/app.yml").is_file()
