# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several registry implementations: each accepts pushed images and serves them with unchanged digests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from images.sizes import MIB

from .conftest import Task
from .host_registries import IMPLEMENTATIONS, HostRegistry, host_registry
from .image_tasks import pull, push, push_entry
from .layout_writer import LayoutWriter

pytestmark = pytest.mark.concurrent


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """A registry of each implementation."""
    folder = tmp_path_factory.mktemp("registry")
    with host_registry(request.param, folder, re.sub(r"[. ]", "-", request.param)) as registry:
        yield registry


@pytest.mark.parametrize("name", ["busybox", "multi", "artifact", "debian"])
def test_pull_returns_pushed_image_unchanged(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path, name: str
) -> None:
    image = images.ensure(name)

    pushed = push(task, image, repository, **host.options)
    pulled = pull(task, repository, f"oci:{tmp_path}/layout", **host.options)

    assert pushed["changed"], pushed.get("msg")
    assert pulled["changed"], pulled.get("msg")
    assert pulled["images"][0]["digest"] == image.digest


def test_push_of_docker_archive_changes_nothing_second_time(task: Task, host: HostRegistry, repository: str) -> None:
    archive = f"docker-archive:{images.ensure('many').docker_archive}:localhost/team/api:1.0"

    first = push(task, archive, repository, **host.options)
    second = push(task, archive, repository, **host.options)

    assert first["changed"], first.get("msg")
    assert not second["changed"], second.get("msg")


def test_push_mounts_blobs_of_other_repository(task: Task, host: HostRegistry, repository: str) -> None:
    layers = images.ensure("layers")
    entries = [push_entry(layers, f"{repository}/{name}") for name in ("one", "two")]

    result = task("k8scr_push", images=entries, **host.options)

    assert [image["changed"] for image in result["images"]] == [True, True], result.get("msg")
    reused = result["images"][1]["mounted"]["blobs"] + result["images"][1]["present"]["blobs"]
    # The registry of go-containerregistry never mounts blobs; the push must upload them instead.
    assert reused == (0 if host.implementation.startswith("go-containerregistry") else 31)


def test_push_uploads_to_pod_of_k8scr_manifest(task: Task, repository: str, tmp_path: Path) -> None:
    pod = {"namespace": "default", "registry": "k8scr", "registry_port": 80}
    image = images.ensure("busybox")

    with host_registry("go-containerregistry", tmp_path, "k8scr", port=80):
        pushed = push(task, image, repository, **pod)
        again = push(task, image, repository, **pod)

    assert pushed["images"][0]["digest"] == image.digest, pushed.get("msg")
    assert not again["changed"]


def test_push_preserves_media_types_of_docker(task: Task, host: HostRegistry, repository: str) -> None:
    image = images.ensure("multi-docker")

    result = push(task, image, repository, **host.options)

    assert result["images"][0]["digest"] == image.digest, result.get("msg")


def test_push_and_pull_transfer_image_with_sha512_digests(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path
) -> None:
    writer = LayoutWriter(tmp_path / "layout", "sha512")
    writer.add("app", layers=2, size=MIB + 1)
    source = writer.finish()
    options = {"images": [push_entry(source, f"{repository}/{name}") for name in ("one", "two")], **host.options}

    planned = task("k8scr_push", **options, check_mode=True)
    pushed = task("k8scr_push", **options)
    again = task("k8scr_push", **options)
    pull(task, f"{repository}/two", f"oci:{tmp_path}/pulled", **host.options)

    assert pushed["changed"], pushed.get("msg")
    assert not again["changed"]
    assert [each["digest"] for each in planned["images"]] == [each["digest"] for each in pushed["images"]]
    # The pulled manifest has a sha256 digest; in the source it has a sha512 digest.
    pulled = {path.name for path in (tmp_path / "pulled/blobs/sha512").iterdir()}
    assert pulled < {path.name for path in (tmp_path / "layout/blobs/sha512").iterdir()}
    assert len(pulled) == 3
