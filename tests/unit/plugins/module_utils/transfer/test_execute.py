# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Transfers of several images: connections, failures and reports."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ApiServerError,
    DigestMismatchError,
    K8scrError,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_archive import OciArchiveDestination
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.execute import Transfer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageJob
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import report
from unit.plugins.module_utils.support.copies import layout_copy
from unit.plugins.module_utils.support.images import Image, layer, make_image, write_layout
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response

Push = Callable[..., dict[str, Any]]


class SeveralImages(NamedTuple):
    """A source with several images.

    Attributes:
        source: The source, as users write it.
        images: Its images, in order.
    """

    source: str
    images: list[Image]


@pytest.fixture
def ten_images(tmp_path: Path) -> SeveralImages:
    """Ten images in a layout."""
    images = [make_image(layer("bin/app", b"%d" % number)) for number in range(10)]
    write_layout(tmp_path / "layout", {f"example.com/app-{number}:1": image for number, image in enumerate(images)})

    return SeveralImages(f"oci:{tmp_path}/layout", images)


@pytest.mark.parametrize("connections", [1, 2, 16])
def test_push_copies_all_images_with_any_number_of_connections(
    push: Push, server: RegistryServer, ten_images: SeveralImages, connections: int
) -> None:
    source, images = ten_images

    result = push(source, connections=connections)

    assert "failed" not in result
    assert [server.digest_of(f"app-{number}", "1") for number in range(10)] == [image.digest for image in images]


def test_push_returns_results_in_order_of_images(push: Push, ten_images: SeveralImages) -> None:
    source, images = ten_images

    result = push(source)

    assert [each["digest"] for each in result["images"]] == [image.digest for image in images]


def test_push_looks_up_blobs_of_image_in_parallel(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    both = threading.Barrier(2, timeout=10)

    def wait(response: Response) -> Response:
        both.wait()
        return response

    for digest in image.layers[:2]:
        server.fail("HEAD", f"/blobs/{digest}", wait)

    assert not push(f"oci:{write_layout(tmp_path, {'example.com/app:1': image})}", connections=2).get("failed")


def test_push_message_names_failed_images_with_reasons(
    push: Push, server: RegistryServer, ten_images: SeveralImages
) -> None:
    server.fail("HEAD", "/app-3/manifests/", Response(403))
    server.fail("PUT", "/app-5/manifests/", error_response(403, "DENIED"))

    result = push(ten_images.source)

    assert result["msg"].startswith("2 of 10 images failed.\nexample.com/app-3:1: image app-3:1 cannot be looked up")
    assert "\nexample.com/app-5:1: manifest sha256:" in result["msg"]
    assert [number for number, each in enumerate(result["images"]) if "error" in each] == [3, 5]
    assert len([each for each in result["images"] if each["changed"]]) == 8


def test_push_message_names_common_reason_once(push: Push) -> None:
    result = push(*(f"oci:/media/missing:app-{number}" for number in range(3)))

    assert result["msg"].count("does not exist") == 1
    assert result["msg"].splitlines()[2:5] == [f"  oci:/media/missing:app-{number}" for number in range(3)]


def test_result_of_failed_image_has_error_without_blobs(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("app", "1", other_image)
    server.fail("PUT", "/manifests/", error_response(403, "DENIED"))
    write_layout(tmp_path, {"example.com/app:1": image})

    result = push(f"oci:{tmp_path}")

    (failed,) = result["images"]
    assert failed.pop("error").startswith(f"manifest {image.digest} cannot be put at 1")
    assert failed == {
        "name": "example.com/app:1",
        "source": f"oci:{tmp_path}",
        "repository": "app",
        "tag": "1",
        "target": "app:1",
        "changed": False,
        "digest": None,
        "digest_before": other_image.digest,
    }
    assert result["diff"] == {"before": "", "after": ""}


@pytest.mark.parametrize("check_mode", [False, True])
def test_fail_fast_copies_nothing_after_failed_plan(
    push: Push, server: RegistryServer, ten_images: SeveralImages, check_mode: bool
) -> None:
    source, images = ten_images
    server.fill("app-0", "1", images[0])
    server.requests.clear()

    result = push(source, "oci:/media/missing", fail_fast=True, check_mode=check_mode)

    assert server.received("POST", "PUT", "PATCH") == []
    assert result["changed"] is False
    assert result["images"][0]["digest"] == images[0].digest
    assert {each["error"] for each in result["images"][1:-1]} == {"not copied, because oci:/media/missing failed"}


def test_fail_fast_skips_images_that_were_not_started(
    push: Push, server: RegistryServer, ten_images: SeveralImages
) -> None:
    server.fail("POST", "/app-0/", error_response(403, "DENIED"))

    result = push(ten_images.source, fail_fast=True, connections=1)

    changed = [number for number, each in enumerate(result["images"]) if each["changed"]]
    existing = [number for number in range(10) if server.digest_of(f"app-{number}", "1")]
    assert changed == existing
    assert len(existing) < 9
    skipped = [each["error"] for number, each in enumerate(result["images"]) if number and number not in existing]
    assert set(skipped) == {"not copied, because example.com/app-0:1 failed"}


def test_fail_fast_stops_while_earlier_image_is_in_progress(
    push: Push, server: RegistryServer, ten_images: SeveralImages
) -> None:
    failed, last = threading.Event(), threading.Event()

    def wait(response: Response) -> Response:
        # The upload of the first image is slow; the second image fails during it.
        failed.wait(10)
        last.wait(2)
        return response

    def delay(response: Response) -> Response:
        # The task has this time to stop after the failure.
        time.sleep(1)
        return response

    def fail(_response: Response) -> Response:
        failed.set()
        return error_response(403, "DENIED")

    def arrive(response: Response) -> Response:
        last.set()
        return response

    server.fail("PUT", "/app-0/blobs/", wait, times=1)
    server.fail("POST", "/app-1/", fail)
    server.fail("PUT", "/app-2/manifests/", delay)
    server.fail("PUT", "/app-9/manifests/", arrive)

    push(ten_images.source, fail_fast=True, connections=2)

    assert server.digest_of("app-9", "1") is None


def test_push_copies_other_images_without_fail_fast(
    push: Push, server: RegistryServer, ten_images: SeveralImages
) -> None:
    server.fail("POST", "/app-0/", error_response(403, "DENIED"))

    push(ten_images.source, connections=1)

    assert [bool(server.digest_of(f"app-{number}", "1")) for number in range(10)] == [False] + [True] * 9


def archive_job(tmp_path: Path, image: Image, name: str) -> ImageJob:
    """Return the job that copies an image from a layout to the archive ``app.tar``."""
    copy = layout_copy(tmp_path / name, image, OciArchiveDestination(tmp_path / "app.tar"), name)
    return ImageJob(name, copy, name)


def test_transfer_removes_partial_archive_after_unexpected_exception(
    tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_unexpected(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(OciArchiveDestination, "publish", raise_unexpected)

    with pytest.raises(ZeroDivisionError):
        report(Transfer(2).run([archive_job(tmp_path, image, "app")]))

    assert [path.name for path in tmp_path.iterdir()] == ["app"]


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (ApiServerError("the credentials have ended", status=401), [".app.tar.partial", "app"]),
        (DigestMismatchError("damaged"), ["app"]),
    ],
)
def test_transfer_keeps_partial_archive_unless_content_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: K8scrError, kept: list[str]
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(OciArchiveDestination, "publish", fail)
    large = make_image(layer("bin/app", random.Random(0).randbytes(3 << 20)))

    report(Transfer(2).run([archive_job(tmp_path, large, "app")]))

    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_images_fail_when_archive_cannot_be_replaced(
    tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)

    result = report(Transfer(2).run([archive_job(tmp_path, image, "app")]))

    assert result["changed"] is False
    assert "app.tar cannot be written: Permission denied" in result["msg"]
    assert [path.name for path in tmp_path.iterdir()] == ["app"]


def test_report_has_source_and_facts_of_failed_job() -> None:
    error = SourceError("it does not exist", "Check its path")

    result = report(Transfer(1).run([ImageJob("app", source="here", facts={"tag": "1"}, error=error)]))

    assert result == {
        "changed": False,
        "failed": True,
        "msg": "1 of 1 images failed.\napp: it does not exist. Check its path.",
        "diff": {"before": "", "after": ""},
        "images": [
            {
                "name": "app",
                "source": "here",
                "tag": "1",
                "target": None,
                "changed": False,
                "digest": None,
                "digest_before": None,
                "error": "it does not exist. Check its path.",
            }
        ],
    }


def test_report_has_further_failures_and_changes_of_task() -> None:
    failed = Transfer(1).run([ImageJob("app", error=SourceError("it does not exist"))])

    assert report(failed, ["the disk is full"])["msg"].splitlines() == [
        "1 of 1 images failed.",
        "app: it does not exist",
        "the disk is full",
    ]
    assert report([], ["the disk is full"])["failed"] is True
    assert report([], diffs=[{"before": "1"}])["changed"] is True
    assert report([], diffs=[{"before": "1"}])["diff"] == [{"before": "", "after": ""}, {"before": "1"}]


def test_report_is_unchanged_without_images() -> None:
    assert report(Transfer(1, fail_fast=True).run([])) == {
        "changed": False,
        "images": [],
        "diff": {"before": "", "after": ""},
    }
