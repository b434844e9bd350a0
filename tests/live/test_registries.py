# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Registries of three makes: each takes what we push and gives it back with its digests unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import images
import pytest

from .conftest import Task
from .host_registries import MAKES, HostRegistry, host_registry
from .layout_writer import MEBIBYTE, LayoutWriter


@pytest.fixture(scope="module", params=MAKES)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """A registry of each make."""
    folder = tmp_path_factory.mktemp("registry")
    with host_registry(request.param, folder, re.sub(r"[. ]", "-", request.param)) as registry:
        yield registry


@pytest.mark.parametrize("name", ["busybox", "multi", "artifact", "debian"])
def test_what_was_pushed_comes_back_unchanged(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path, name: str
) -> None:
    image = images.ensure(name)
    target = f"docker.io/{repository}:1"

    pushed = task("k8scr_push", images=[{"source": f"oci:{image.layout}", "name": target}], **host.options)
    pulled = task("k8scr_pull", images=[{"name": target, "dest": f"oci:{tmp_path}/layout"}], **host.options)

    assert pushed["changed"], pushed.get("msg")
    assert pulled["changed"], pulled.get("msg")
    assert pulled["images"][0]["digest"] == image.digest


def test_a_docker_archive_is_known_again(task: Task, host: HostRegistry, repository: str) -> None:
    source = {"source": f"docker-archive:{images.ensure('many').docker_archive}:localhost/team/api:1.0"}
    wanted = [{**source, "name": f"docker.io/{repository}:1"}]

    first = task("k8scr_push", images=wanted, **host.options)
    second = task("k8scr_push", images=wanted, **host.options)

    assert first["changed"], first.get("msg")
    assert not second["changed"], second.get("msg")


def test_a_second_repository_gets_its_blobs_from_the_first(task: Task, host: HostRegistry, repository: str) -> None:
    source = f"oci:{images.ensure('layers').layout}"
    wanted = [{"source": source, "name": f"docker.io/{repository}/{name}:1"} for name in ("one", "two")]

    result = task("k8scr_push", images=wanted, **host.options)

    assert [image["changed"] for image in result["images"]] == [True, True], result.get("msg")
    taken_over = result["images"][1]["mounted"]["blobs"] + result["images"][1]["present"]["blobs"]
    # go-containerregistry's never mounts; then they are sent, which must work as well.
    assert taken_over == (0 if host.make.startswith("go-containerregistry") else 31)


def test_the_pod_that_k8scrs_own_manifest_deploys_is_a_registry_as_well(
    task: Task, repository: str, tmp_path: Path
) -> None:
    seed = {"namespace": "default", "registry": "k8scr", "registry_port": 80}
    image = images.ensure("busybox")
    source = {"source": f"oci:{image.layout}", "name": f"docker.io/{repository}:1"}

    with host_registry("go-containerregistry", tmp_path, "k8scr", port=80):
        pushed = task("k8scr_push", images=[source], **seed)
        again = task("k8scr_push", images=[source], **seed)

    assert pushed["images"][0]["digest"] == image.digest, pushed.get("msg")
    assert not again["changed"]


def test_images_with_dockers_media_types_are_taken(task: Task, host: HostRegistry, repository: str) -> None:
    image = images.ensure("multi-docker")
    wanted = [{"source": f"oci:{image.layout}", "name": f"docker.io/{repository}:1"}]

    result = task("k8scr_push", images=wanted, **host.options)

    assert result["images"][0]["digest"] == image.digest, result.get("msg")


def test_an_image_that_is_named_by_sha512_is_taken(
    task: Task, host: HostRegistry, repository: str, tmp_path: Path
) -> None:
    writer = LayoutWriter(tmp_path / "layout", "sha512")
    writer.add("app", layers=2, size=MEBIBYTE + 1)
    names = [f"docker.io/{repository}/{name}:1" for name in ("one", "two")]
    wanted = [{"source": writer.finish(), "name": name} for name in names]

    planned = task("k8scr_push", images=wanted, check_mode=True, **host.options)
    pushed = task("k8scr_push", images=wanted, **host.options)
    again = task("k8scr_push", images=wanted, **host.options)
    task("k8scr_pull", images=[{"name": names[1], "dest": f"oci:{tmp_path}/pulled"}], **host.options)

    assert pushed["changed"], pushed.get("msg")
    assert not again["changed"]
    assert [each["digest"] for each in planned["images"]] == [each["digest"] for each in pushed["images"]]
    # The manifest, which has its sha512 in the one, has its sha256 in the other.
    pulled = {path.name for path in (tmp_path / "pulled/blobs/sha512").iterdir()}
    assert pulled < {path.name for path in (tmp_path / "layout/blobs/sha512").iterdir()}
    assert len(pulled) == 3
