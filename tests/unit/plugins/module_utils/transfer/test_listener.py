# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Events of a transfer, as its listeners receive them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.content import BLOCK_SIZE
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.interfaces import ImageDestination
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_archive import OciArchiveDestination
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer import blob_copy
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.execute import Transfer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageJob
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.listener import Listener, Listeners, RetryLog
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.plan import Action, BlobResult, ImagePlan
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import ImageResult
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.retry_status import RetryStatus
from unit.plugins.module_utils.support.copies import layout_copy
from unit.plugins.module_utils.support.images import Image, layer, make_image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.shown_texts import ShownTexts


class Recorder(Listener):
    """Records all events of a transfer with one connection."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.moved = Counter[tuple[str, str]]()
        self.actions: list[Action] = []
        self.results: list[ImageResult] = []

    def image_planned(self, plan: ImagePlan) -> None:
        """Record the event."""
        self.events.append(("planned", plan.job.name))

    def blob_started(self, plan: ImagePlan, blob: Descriptor) -> None:
        """Record the event."""
        self.events.append(("started", blob.digest))

    def bytes_moved(self, plan: ImagePlan, blob: Descriptor, offset: int, count: int) -> None:
        """Add the bytes of an image's blob, which are read in order."""
        assert offset == self.moved[plan.job.name, blob.digest]
        self.moved[plan.job.name, blob.digest] += count

    def blob_done(self, plan: ImagePlan, result: BlobResult) -> None:
        """Record the event and the action."""
        self.events.append(("done", result.descriptor.digest if result.descriptor else ""))
        self.actions.append(result.action)

    def image_done(self, result: ImageResult) -> None:
        """Record the event and the result."""
        self.events.append(("finished", result.plan.job.name))
        self.results.append(result)

    def retried(self, action: str, reason: str) -> None:
        """Record the event."""
        self.events.append(("retried", action))

    def names(self, kind: str) -> list[str]:
        """Return the names or digests of all events of a kind, in order."""
        return [name for each, name in self.events if each == kind]


@pytest.fixture
def recorder() -> Recorder:
    """A listener that records the events."""
    return Recorder()


def job(folder: Path, image: Image, destination: ImageDestination, name: str) -> ImageJob:
    """Return the job that copies an image from a new layout."""
    return ImageJob(name, layout_copy(folder / name, image, destination), f"{name}:1")


def test_listener_receives_start_bytes_and_end_of_each_blob(
    registry: Registry, tmp_path: Path, image: Image, recorder: Recorder
) -> None:
    Transfer(1).run([job(tmp_path, image, Repository(registry, "app"), "app")], recorder)

    assert recorder.names("planned") == recorder.names("finished") == ["app"]
    assert set(recorder.names("started")) == set(recorder.names("done")) == set(image.blobs)
    assert recorder.moved == {("app", digest): len(content) for digest, content in image.blobs.items()}


def test_listener_receives_bytes_of_many_blocks_at_once(
    registry: Registry, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_copy, "time", Mock(**{"monotonic.return_value": 1.0}))
    events = Mock(wraps=recorder.bytes_moved)
    monkeypatch.setattr(recorder, "bytes_moved", events)
    image = make_image(layer("data", os.urandom(3 * BLOCK_SIZE)))
    (digest,) = image.layers

    Transfer(1).run([job(tmp_path, image, Repository(registry, "app"), "app")], recorder)

    calls = [call.args for call in events.call_args_list]
    counts = [count for _plan, blob, _offset, count in calls if blob.digest == digest]
    assert counts == [BLOCK_SIZE, len(image.blobs[digest]) - BLOCK_SIZE]


def test_listener_receives_retries_with_other_events(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, recorder: Recorder
) -> None:
    registry.retries.on_retry = recorder.retried
    server.fail("POST", "", Response(503), times=1)

    Transfer(1).run([job(tmp_path, image, Repository(registry, "app"), "app")], recorder)

    assert set(recorder.moved) == {("app", digest) for digest in image.blobs}
    assert {kind for kind, _name in recorder.events} == {"planned", "started", "done", "finished", "retried"}


def test_listener_receives_mounts_without_bytes(
    registry: Registry, tmp_path: Path, image: Image, recorder: Recorder
) -> None:
    jobs = [job(tmp_path, image, Repository(registry, name), name) for name in ("one", "two")]

    Transfer(1).run(jobs, recorder)

    assert Counter(recorder.actions) == {Action.SENT: len(image.blobs), Action.MOUNTED: len(image.blobs)}
    assert sum(recorder.moved.values()) == sum(map(len, image.blobs.values()))


def test_listener_receives_only_plans_in_check_mode(
    registry: Registry, tmp_path: Path, image: Image, recorder: Recorder
) -> None:
    Transfer(1, check_mode=True).run([job(tmp_path, image, Repository(registry, "app"), "app")], recorder)

    assert recorder.events == [("planned", "app")]


@pytest.mark.parametrize("fail_fast", [False, True])
def test_listener_receives_one_result_for_each_image_after_failures(
    registry: Registry, server: RegistryServer, tmp_path: Path, image: Image, recorder: Recorder, fail_fast: bool
) -> None:
    server.fail("POST", "/one/", error_response(403, "DENIED"))
    jobs = [job(tmp_path, image, Repository(registry, name), name) for name in ("one", "two", "three")]
    jobs.append(ImageJob("missing", error=SourceError("it does not exist")))

    results = Transfer(1, fail_fast=fail_fast).run(jobs, recorder)

    assert sorted(recorder.names("finished")) == ["missing", "one", "three", "two"]
    assert sorted(recorder.results, key=id) == sorted(results, key=id)


def test_listener_receives_images_of_archive_after_commit(
    tmp_path: Path, image: Image, other_image: Image, monkeypatch: pytest.MonkeyPatch, recorder: Recorder
) -> None:
    def commit(_archive: OciArchiveDestination) -> None:
        assert recorder.names("finished") == []
        raise SourceError("the commit failed")

    monkeypatch.setattr(OciArchiveDestination, "commit", commit)
    archive = OciArchiveDestination(tmp_path / "app.tar")
    jobs = [job(tmp_path, each, archive, name) for each, name in ((image, "one"), (other_image, "two"))]

    Transfer(1).run(jobs, recorder)

    assert recorder.names("finished") == ["one", "two"]
    assert {str(result.error) for result in recorder.results} == {"the commit failed"}


def test_retries_are_values_of_error_that_ends_module() -> None:
    log = RetryLog()
    log.retried("blob sha256:1", "connection reset")

    with pytest.raises(SourceError) as failure, log.in_errors():
        raise SourceError("the registry does not respond")

    assert failure.value.values == {"retries": [{"what": "blob sha256:1", "why": "connection reset", "times": 1}]}
    assert SourceError("other").values == {}


def test_status_has_retried_requests_until_they_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ShownTexts(monkeypatch)
    retries = RetryStatus(shown.progress)

    with retries.status(lambda: "deleted 1 of 2 tags"):
        retries.retried("tag 2", "the API server restarts")
        shown.wait_for_last(r"deleted 1 of 2 tags; retrying 1 request: the API server restarts \(\d s\)")
        retries.recovered("tag 2")
        shown.wait_for_last("deleted 1 of 2 tags")


def test_listeners_forward_all_events() -> None:
    received: list[str] = []
    events = [name for name in vars(Listener) if not name.startswith("_")]
    first = Listener()
    for name in events:
        setattr(first, name, lambda *_arguments, name=name: received.append(name))
    listeners = Listeners(first, Listener())

    for name in events:
        method = getattr(Listeners, name)
        method(listeners, *[None] * (method.__code__.co_argcount - 1))

    assert received == events
