# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies to a registry that collects garbage meanwhile: each image is complete at the end, or failed."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.compression import find_compression
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest_tag import digest_tag
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.compressed_layers import (
    CompressedLayers,
    CompressingRepository,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.execute import Transfer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageCopy, ImageJob
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.listener import Listener
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.plan import Action, BlobResult, ImagePlan
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import ImageResult
from hypothesis import event, given, settings
from hypothesis import strategies as st
from unit.plugins.module_utils.support.copies import docker_archive_copy, layout_copy
from unit.plugins.module_utils.support.images import Image, layer, make_image, make_index
from unit.plugins.module_utils.support.lost_content import Collections, missing_content
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.tasks import connected

_REQUESTS = 90
"""At least the number of requests of the task without collections."""
_OLD = "old"
_LIMIT = 10.0
"""Seconds."""
_SHARED = layer("etc/motd", b"welcome")


def _image(name: str, architecture: str = "amd64") -> Image:
    return make_image(_SHARED, layer(f"bin/{name}", name.encode()), architecture=architecture)


INDEX = make_index({f"linux/{each}": _image(f"app-{each}", each) for each in ("amd64", "arm64")})
BY_TAG, BY_DIGEST, UNTAGGED, FROM_DOCKER = map(_image, ("tagged", "digest", "untagged", "docker"))
OLD = make_index({"linux/amd64": _image("app-amd64"), "linux/s390x": _image("tagged", "s390x")})
"""An image of an earlier release, with content of the others. It is deleted by the first collection."""


@dataclass
class Recorder(Listener):
    """Records the uploaded blobs of each image, and the final results."""

    uploaded: dict[str, set[str]] = field(default_factory=dict)
    planned: dict[str, int] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    results: list[ImageResult] = field(default_factory=list)
    retries: int = 0

    def image_planned(self, plan: ImagePlan) -> None:
        """Count the plans of each image."""
        self.planned[plan.job.name] = self.planned.get(plan.job.name, 0) + 1

    def blob_done(self, plan: ImagePlan, result: BlobResult) -> None:
        """Record an uploaded blob."""
        if result.action is Action.SENT and result.at_source:
            self.uploaded.setdefault(plan.job.name, set()).add(result.at_source.digest)

    def image_done(self, result: ImageResult) -> None:
        """Record a result."""
        self.results.append(result)

    def retried(self, action: str, reason: str) -> None:
        """Count the images that are planned again."""
        self.retries += action.startswith("image ")


@contextmanager
def running() -> Iterator[tuple[RegistryServer, Registry, Path]]:
    """Run a registry with the old image, and with an image that has lost its tag."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RegistryServer().running() as server,
        connected(server.url) as registry,
    ):
        server.fill("team/app", _OLD, OLD)
        server.fill("team/other", _OLD, OLD)
        server.fill("team/untagged", None, UNTAGGED)
        yield server, registry, Path(folder)


def jobs_of(registry: Registry, folder: Path) -> list[ImageJob]:
    """Return the jobs of a task: an index, images by tag and by digest, and one with layers to compress."""
    app, other, untagged = (Repository(registry, f"team/{name}") for name in ("app", "other", "untagged"))
    compression = find_compression("gzip")
    assert compression
    compressor = CompressingRepository(other, CompressedLayers(folder / "compressed", compression))
    copies = {
        "index": layout_copy(folder / "index", INDEX, app, "new"),
        "tag": replace(layout_copy(folder / "tag", BY_TAG, other, "new"), neighbors=(app,)),
        "digest": _by_digest(layout_copy(folder / "digest", BY_DIGEST, app), BY_DIGEST),
        "untagged": _by_digest(layout_copy(folder / "untagged", UNTAGGED, untagged), UNTAGGED),
        "docker": replace(docker_archive_copy(folder / "docker.tar", FROM_DOCKER, other), compressor=compressor),
    }
    return [ImageJob(name, copy, name) for name, copy in copies.items()]


def _by_digest(copy: ImageCopy, image: Image) -> ImageCopy:
    return replace(copy, tag=None, digest_tag=digest_tag(image.digest))


def check(results: list[ImageResult], server: RegistryServer, recorder: Recorder) -> None:
    """Compare the results with the registry and the events."""
    for result in results:
        copy = result.plan.job.copy
        assert copy
        assert copy.tag_to_set
        if result.error:
            assert result.changed is False
            assert "A garbage collection may delete content meanwhile: run again later" in str(result.error)
            continue
        assert missing_content(server, copy.destination.repository, copy.tag_to_set) == set()
        assert server.digest_of(copy.destination.repository, copy.tag_to_set) == result.root
        assert result.changed is True
        sent = [blob.at_source.digest for blob in result.blobs if blob.action is Action.SENT and blob.at_source]
        assert len(sent) == len(set(sent))
        assert set(sent) == recorder.uploaded.get(result.plan.job.name, set())
    assert sorted(each.plan.job.name for each in recorder.results) == sorted(each.plan.job.name for each in results)


def push_during(
    moments: Set[int], connections: int, chooser: random.Random | None
) -> tuple[list[ImageResult], Recorder, Collections]:
    """Push while the registry collects garbage at these moments, and check the results."""
    with running() as (server, registry, folder):
        recorder = Recorder()
        registry.retries.on_retry = recorder.retried
        jobs = jobs_of(registry, folder)
        collections = Collections(server, moments, _OLD, chooser)
        results = Transfer(connections).run(jobs, recorder)
        check(results, server, recorder)
        return results, recorder, collections


@pytest.mark.parametrize(("connections", "step"), [(1, 1), (4, 4)])
def test_push_completes_after_garbage_collection_at_any_request(connections: int, step: int) -> None:
    planned_again = 0
    _results, _recorder, undisturbed = push_during(frozenset(), connections, None)
    for moment in range(1, undisturbed.requests + 1, step):
        results, recorder, _collections = push_during(frozenset([moment]), connections, None)

        assert [str(result.error) for result in results if result.error] == []
        planned_again += recorder.retries
    # Most moments cost nothing, because the content was not planned or not sent yet.
    assert undisturbed.requests <= _REQUESTS
    assert planned_again >= 10 // step


@settings(max_examples=25, deadline=None)
@given(
    moments=st.sets(st.integers(1, 2 * _REQUESTS), min_size=1, max_size=12),
    connections=st.integers(1, 4),
    seed=st.none() | st.integers(0, 1 << 32),
)
def test_push_completes_or_fails_after_several_garbage_collections(
    moments: set[int], connections: int, seed: int | None
) -> None:
    chooser = None if seed is None else random.Random(seed)

    results, recorder, collections = push_during(moments, connections, chooser)

    event(f"planned again: {recorder.retries}")
    event(f"deleted: {bool(collections.deleted)}")
    event(f"failed: {sum(bool(result.error) for result in results)}")


def test_push_fails_after_three_new_plans(tmp_path: Path, server: RegistryServer, registry: Registry) -> None:
    recorder = Recorder()
    server.fail("PUT", "/manifests/new", error_response(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"))
    copy = layout_copy(tmp_path, BY_TAG, Repository(registry, "team/app"), "new")

    (result,) = Transfer(1).run([ImageJob("app", copy, "app")], recorder)

    assert "blob unknown to registry. A garbage collection may delete content" in str(result.error)
    assert result.changed is False
    assert recorder.planned == {"app": 4}
    assert server.received("PUT").count("PUT /v2/team/app/manifests/new") == 4


def test_push_sends_only_lost_blob_again(tmp_path: Path, server: RegistryServer, registry: Registry) -> None:
    server.fail("PUT", "/manifests/new", error_response(400, "MANIFEST_BLOB_UNKNOWN"), times=1)
    server.fill("team/app", None, BY_TAG)
    server.manifests.clear()
    lost = BY_TAG.layers[1]
    copy = layout_copy(tmp_path, BY_TAG, Repository(registry, "team/app"), "new")
    recorder = Recorder()
    recorder.retried = lambda *_arguments: server.blobs["team/app"].pop(lost)  # type: ignore[method-assign,assignment]

    (result,) = Transfer(1).run([ImageJob("app", copy, "app")], recorder)

    assert result.error is None
    assert {blob.descriptor.digest: blob.action for blob in result.blobs if blob.descriptor} == {
        digest: Action.SENT if digest == lost else Action.PRESENT for digest in BY_TAG.blobs
    }


@pytest.mark.parametrize("path", ["/blobs/sha256:", "/manifests/new"])
def test_push_repairs_content_that_registry_cannot_read(
    tmp_path: Path, server: RegistryServer, registry: Registry, path: str
) -> None:
    server.fill("team/app", "new", OLD)
    server.fail("HEAD", path, error_response(500, "UNKNOWN"))
    copy = layout_copy(tmp_path, BY_TAG, Repository(registry, "team/app"), "new")

    (result,) = Transfer(1).run([ImageJob("app", copy, "app")])

    assert result.error is None
    assert server.digest_of("team/app", "new") == BY_TAG.digest
    assert missing_content(server, "team/app", "new") == set()


def test_push_fails_if_stored_manifest_stays_unreadable(
    tmp_path: Path, server: RegistryServer, registry: Registry
) -> None:
    # distribution 2.8 does not write the content of an existing file again.
    server.fail("HEAD", "/manifests/", error_response(500, "UNKNOWN"))
    copy = layout_copy(tmp_path, BY_TAG, Repository(registry, "team/app"), "new")

    (result,) = Transfer(1).run([ImageJob("app", copy, "app")])

    assert result.changed is False
    assert f"accepted manifest {BY_TAG.digest}, but cannot read it" in str(result.error)


def test_push_fails_if_registry_reads_and_stores_nothing(
    tmp_path: Path, server: RegistryServer, registry: Registry
) -> None:
    server.fail("POST", "/", error_response(500, "UNKNOWN", "faulty"))
    server.fail("HEAD", "/", error_response(500, "UNKNOWN"))
    copy = layout_copy(tmp_path, BY_TAG, Repository(registry, "team/app"), "new")

    (result,) = Transfer(1).run([ImageJob("app", copy, "app")])

    assert "the registry responded with 500: faulty" in str(result.error)


@pytest.mark.parametrize(
    ("image", "tag", "protection"),
    [(INDEX, "new", None), (INDEX, None, "k8scr-0123456789ab"), (INDEX, None, None), (BY_DIGEST, None, None)],
    ids=["tag", "digest", "referrer that is an index", "referrer"],
)
def test_push_repairs_manifests_without_their_blobs(
    tmp_path: Path, server: RegistryServer, registry: Registry, image: Image, tag: str | None, protection: str | None
) -> None:
    # distribution's collector leaves manifests without their blobs if another repository has the same manifests.
    server.fill("team/app", None, image)
    server.blobs["team/app"].clear()
    copy = replace(layout_copy(tmp_path, image, Repository(registry, "team/app"), tag), digest_tag=protection)

    (result,) = Transfer(1).run([ImageJob("app", copy, "app")])
    (again,) = Transfer(1).run([ImageJob("app", copy, "app")])

    assert result.error is None
    assert missing_content(server, "team/app", tag or protection or image.digest) == set()
    assert (result.changed, again.changed) == (True, False)


class FailFast(Listener):
    """Fails the image ``failing`` while the blobs of ``again`` wait for a worker in its second plan."""

    def __init__(self) -> None:
        self.planned_again, self.failed = threading.Event(), threading.Event()
        self._plans: list[str] = []

    def image_planned(self, plan: ImagePlan) -> None:
        """Note the second plan."""
        self._plans.append(plan.job.name)
        if self._plans.count("again") > 1:
            threading.Timer(0.3, self.planned_again.set).start()

    def blob_started(self, plan: ImagePlan, blob: Descriptor) -> None:
        """Occupy the workers until the task ends."""
        if plan.job.name.startswith("slow"):
            self.failed.wait(_LIMIT)

    def image_done(self, result: ImageResult) -> None:
        """Continue after the failure has ended the task."""
        if result.plan.job.name == "failing":
            threading.Timer(0.3, self.failed.set).start()


def test_push_with_fail_fast_ends_while_image_is_copied_again(
    tmp_path: Path, server: RegistryServer, registry: Registry
) -> None:
    listener = FailFast()

    def lose_blob(_response: Response) -> Response:
        server.blobs["team/again"].pop(BY_TAG.layers[1])
        return error_response(400, "MANIFEST_BLOB_UNKNOWN")

    def reject_late(_response: Response) -> Response:
        listener.planned_again.wait(_LIMIT)
        return error_response(400, "MANIFEST_INVALID")

    server.fail("PUT", "team/again/manifests/new", lose_blob, times=1)
    server.fail("PUT", "team/failing/manifests/new", reject_late)
    jobs = []
    for name, image in {"again": BY_TAG, "failing": BY_DIGEST, "slow-1": UNTAGGED, "slow-2": FROM_DOCKER}.items():
        if not name.startswith("slow"):
            server.fill(f"team/{name}", None, image)
        copy = layout_copy(tmp_path / name, image, Repository(registry, f"team/{name}"), "new")
        jobs.append(ImageJob(name, copy, name))
    server.manifests.clear()
    results: list[ImageResult] = []
    task = threading.Thread(target=lambda: results.extend(Transfer(2, fail_fast=True).run(jobs, listener)), daemon=True)

    task.start()
    task.join(_LIMIT)

    assert not task.is_alive()
    assert [bool(result.error) for result in results] == [True] * len(jobs)
    assert "not copied, because failing failed" in str(results[0].error)
