# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans: what planning requests and finds, and what a plan shows."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    DestinationError,
    RegistryError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.interfaces import SourceImage
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_archive import DockerArchiveDestination
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageCopy
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.plan import Action
from unit.plugins.module_utils.support.copies import (
    docker_archive_copy,
    job_of,
    layout_copy,
    plan_copies,
    plan_jobs,
)
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a source."""
    return tmp_path / "source"


def test_plan_sends_only_read_requests(registry: Registry, server: RegistryServer, folder: Path, multi: Image) -> None:
    plan_copies(layout_copy(folder, multi, Repository(registry, "app")))

    assert {request.method for request in server.requests} <= {"GET", "HEAD"}
    assert (server.blobs, server.manifests) == ({}, {})


def test_plan_rejects_unsupported_image_before_download(
    registry: Registry, server: RegistryServer, tmp_path: Path, multi: Image
) -> None:
    server.fill("app", "1", multi)
    archive = DockerArchiveDestination(tmp_path / "app.tar")
    copy = ImageCopy(Repository(registry, "app"), SourceImage(multi.root), archive, "app:1")

    with pytest.raises(DestinationError, match="a Docker archive can store only one"):
        plan_copies(copy)

    assert not [request for request in server.requests if "/blobs/" in request.path]


def test_plan_finds_compressed_image_for_docker_archive(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("app", "1", image)
    copy = docker_archive_copy(tmp_path / "app.tar", image, Repository(registry, "app"))

    (found,) = plan_copies(copy)

    assert not found.changes
    assert found.root == image.digest
    assert server.received("HEAD", "GET") == ["HEAD /v2/app/manifests/1", f"GET /v2/app/manifests/{image.digest}"]


def test_plan_fails_when_registry_denies_lookup(
    registry: Registry, server: RegistryServer, folder: Path, image: Image
) -> None:
    server.fail("HEAD", "/manifests/", Response(403))

    with pytest.raises(RegistryError, match="cannot be looked up"):
        plan_copies(layout_copy(folder, image, Repository(registry, "app")))


def test_plan_is_immutable(registry: Registry, folder: Path, image: Image) -> None:
    (plan,) = plan_copies(layout_copy(folder, image, Repository(registry, "app")))

    for part, attribute in ((plan, "root"), (plan, "steps"), (plan.steps[0], "action"), (plan.steps[0], "descriptor")):
        with pytest.raises(FrozenInstanceError):
            setattr(part, attribute, None)
    assert isinstance(plan.steps, tuple)
    assert isinstance(plan.manifests, tuple)


def test_plan_repr_shows_actions_and_digests(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.blobs["one"] = {image.layers[0]: image.blobs[image.layers[0]]}
    plans = plan_copies(
        layout_copy(tmp_path / "one", image, Repository(registry, "one")),
        layout_copy(tmp_path / "two", other_image, Repository(registry, "two")),
    )

    printed = [repr(plan) for plan in plans]

    for plan, text in zip(plans, printed):
        assert plan.root in text
        assert all(step.descriptor.digest in text for step in plan.steps)
    assert [action.name for action in Action if f"Action.{action.name}" in printed[0]] == ["PRESENT", "SENT"]
    assert [action.name for action in Action if f"Action.{action.name}" in printed[1]] == ["MOUNTED", "SENT"]


def test_plans_of_same_state_are_equal(
    registry: Registry, server: RegistryServer, tmp_path: Path, multi: Image, image: Image, other_image: Image
) -> None:
    server.fill("one", "1", image)
    jobs = [
        job_of(layout_copy(tmp_path / "one", multi, Repository(registry, "one"))),
        job_of(layout_copy(tmp_path / "two", other_image, Repository(registry, "two"))),
    ]

    plans = plan_jobs(*jobs)

    assert plan_jobs(*jobs) == plans
    server.fill("two", None, other_image)
    assert plan_jobs(*jobs) != plans
