# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store is committed when its last image is copied, so that a transfer to many archives has few open files."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.content import Blocks
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_archive import OciArchiveDestination
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import OciLayoutSource
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.execute import Transfer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageJob
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.listener import Listener
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.plan import BlobResult, ImagePlan
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import ImageResult
from unit.plugins.module_utils.support.copies import layout_copy, read_location
from unit.plugins.module_utils.support.images import Image

SECONDS = 20


class Waiting(Listener):
    """Lets the second image wait until the first is done, and then raises an error if there is one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.first_is_done = threading.Event()
        self.waited: list[bool] = []
        self._error = error

    def blob_started(self, plan: ImagePlan, blob: Descriptor) -> None:
        if plan.job.name == "second":
            self.waited.append(self.first_is_done.wait(SECONDS))
            if self._error:
                raise self._error

    def image_done(self, result: ImageResult) -> None:
        if result.plan.job.name == "first":
            self.first_is_done.set()


def job(tmp_path: Path, image: Image, name: str, destination: OciArchiveDestination | None = None) -> ImageJob:
    """Return the job that copies an image from a layout to an archive, by default one of its own."""
    destination = destination or OciArchiveDestination(tmp_path / f"{name}.tar")
    return ImageJob(name, layout_copy(tmp_path / name, image, destination, name), name)


def test_archive_is_complete_before_other_archives_are(tmp_path: Path, image: Image, other_image: Image) -> None:
    listener = Waiting()

    results = Transfer(2).run([job(tmp_path, image, "first"), job(tmp_path, other_image, "second")], listener)

    assert [result.error for result in results] == [None, None]
    assert set(listener.waited) == {True}
    assert read_location(f"oci-archive:{tmp_path}/first.tar") == image.contents
    assert read_location(f"oci-archive:{tmp_path}/second.tar") == other_image.contents


def test_complete_archive_stays_after_unexpected_exception(tmp_path: Path, image: Image, other_image: Image) -> None:
    jobs = [job(tmp_path, image, "first"), job(tmp_path, other_image, "second")]

    with pytest.raises(ZeroDivisionError):
        Transfer(2).run(jobs, Waiting(ZeroDivisionError()))

    assert read_location(f"oci-archive:{tmp_path}/first.tar") == image.contents
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "first.tar", "second"]


def test_transfer_starts_no_other_blob_after_unexpected_exception(tmp_path: Path, image: Image) -> None:
    started: list[str] = []

    class Failing(Listener):
        def blob_started(self, plan: ImagePlan, blob: Descriptor) -> None:
            started.append(plan.job.name)
            if len(started) == 1:
                raise ZeroDivisionError
            time.sleep(0.2)

    with pytest.raises(ZeroDivisionError):
        Transfer(1).run([job(tmp_path, image, name) for name in ("first", "second", "third")], Failing())

    assert "third" not in started


def test_archive_is_committed_after_the_last_of_its_images(tmp_path: Path, image: Image, other_image: Image) -> None:
    archive = OciArchiveDestination(tmp_path / "both.tar")
    jobs = [job(tmp_path, image, "first", archive), job(tmp_path, other_image, "second", archive)]

    results = Transfer(2).run(jobs)

    assert [result.error for result in results] == [None, None]
    for name, contents in (("first", image.contents), ("second", other_image.contents)):
        assert read_location(f"oci-archive:{tmp_path}/both.tar:{name}") == contents


def test_fail_fast_stops_after_failed_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: Image, other_image: Image
) -> None:
    def refuse(_archive: OciArchiveDestination) -> None:
        raise DestinationError("the disk is full")

    monkeypatch.setattr(OciArchiveDestination, "commit", refuse)
    jobs = [job(tmp_path, each, f"image-{number}") for number, each in enumerate([image, other_image] * 10)]

    results = Transfer(1, fail_fast=True).run(jobs)

    messages = [str(result.error) for result in results]
    assert messages[0] == "the disk is full"
    assert messages[-1] == "not copied, because image-0 failed"


def test_archive_is_abandoned_after_all_its_blobs_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: Image
) -> None:
    events: list[str] = []
    failed = threading.Event()
    open_blob = OciLayoutSource.open_blob
    abandon = OciArchiveDestination.abandon

    class Written(Listener):
        def blob_done(self, plan: ImagePlan, result: BlobResult) -> None:
            events.append("written")

    def open_slowly(source: OciLayoutSource, descriptor: Descriptor, offset: int) -> AbstractContextManager[Blocks]:
        if descriptor.digest == image.layers[0]:
            failed.set()
            raise SourceError("the layer cannot be read")
        if descriptor.digest == image.layers[1]:
            failed.wait(SECONDS)
            # Meanwhile, the transfer sees the failure.
            time.sleep(0.3)
        return open_blob(source, descriptor, offset)

    def noted(archive: OciArchiveDestination, resumable: bool = False) -> bool:
        events.append("abandoned")
        return abandon(archive, resumable)

    monkeypatch.setattr(OciLayoutSource, "open_blob", open_slowly)
    monkeypatch.setattr(OciArchiveDestination, "abandon", noted)

    (result,) = Transfer(4).run([job(tmp_path, image, "first")], Written())

    assert str(result.error) == "the layer cannot be read"
    assert events == ["written", "written", "abandoned"]
