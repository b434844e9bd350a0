# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many images at once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ApiServerError,
    DigestMismatchError,
    K8scrError,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.file_access import FolderFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.interfaces import SourceImage
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_archive import OciArchiveDestination
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import OciLayoutSource
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.execute import Transfer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageCopy, ImageJob
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import report
from unit.plugins.module_utils.support.images import Image, layer, make_image, write_layout
from unit.plugins.module_utils.support.registry_server import Answer, RegistryServer, refused

Push = Callable[..., dict[str, Any]]


@pytest.fixture
def many(tmp_path: Path) -> tuple[str, list[Image]]:
    """A layout of ten images, and these images; the layout is written as a source."""
    images = [make_image(layer("bin/app", b"%d" % number)) for number in range(10)]
    write_layout(tmp_path / "many", {f"example.com/app-{number}:1": image for number, image in enumerate(images)})
    return f"oci:{tmp_path}/many", images


@pytest.mark.parametrize("connections", [1, 2, 16])
def test_all_images_arrive_over_any_number_of_connections(
    push: Push, server: RegistryServer, many: tuple[str, list[Image]], connections: int
) -> None:
    source, images = many

    result = push(source, connections=connections)

    assert "failed" not in result
    assert [server.digest_of(f"app-{number}", "1") for number in range(10)] == [image.digest for image in images]


def test_results_come_in_the_order_asked(push: Push, many: tuple[str, list[Image]]) -> None:
    source, images = many

    result = push(source)

    assert [each["digest"] for each in result["images"]] == [image.digest for image in images]


@pytest.fixture
def under_way(server: RegistryServer) -> list[list[str]]:
    """The paths that the registry is asked for at once: an entry for each request, in the order in which they came."""
    lock, now, seen = threading.Lock(), list[str](), list[list[str]]()

    def watch(path: str, _headers: Mapping[str, str]) -> None:
        with lock:
            now.append(path)
            seen.append([*now])
        # Manifests, which wait for their blobs, are to come faster than they are answered.
        time.sleep(0.1 if "/manifests/" in path else 0.01)
        with lock:
            now.remove(path)

    server.guard = watch
    return seen


def most(under_way: list[list[str]], kind: str = "") -> int:
    """The most requests at once that have something in their paths."""
    return max(sum(kind in path for path in paths) for paths in under_way)


@pytest.mark.parametrize("kind", ["/blobs/", "/manifests/"])
def test_push_keeps_requests_of_each_kind_within_connections(
    push: Push, many: tuple[str, list[Image]], under_way: list[list[str]], kind: str
) -> None:
    result = push(many[0], connections=2)

    assert not result.get("failed"), result.get("msg")
    assert most(under_way, kind) == 2


def test_pull_keeps_requests_of_all_kinds_within_connections(
    pull: Push, server: RegistryServer, many: tuple[str, list[Image]], under_way: list[list[str]], tmp_path: Path
) -> None:
    names = [f"docker.io/team/app-{number}:1" for number in range(10)]
    for number, image in enumerate(many[1]):
        server.fill(f"team/app-{number}", "1", image)

    result = pull(*({"name": name, "dest": f"oci:{tmp_path}/pulled"} for name in names), connections=2)

    assert not result.get("failed"), result.get("msg")
    assert most(under_way) == 2


def test_the_blobs_of_one_image_are_looked_up_side_by_side(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    both = threading.Barrier(2, timeout=10)

    def wait(answer: Answer) -> Answer:
        both.wait()
        return answer

    for digest in image.layers[:2]:
        server.fail("HEAD", f"/blobs/{digest}", wait)

    assert not push(f"oci:{write_layout(tmp_path, {'example.com/app:1': image})}", connections=2).get("failed")


def test_the_images_that_failed_are_named_with_their_reasons(
    push: Push, server: RegistryServer, many: tuple[str, list[Image]]
) -> None:
    server.fail("HEAD", "/app-3/manifests/", Answer(403))
    server.fail("PUT", "/app-5/manifests/", refused(403, "DENIED"))

    result = push(many[0])

    assert result["msg"].startswith("2 of 10 images failed.\nexample.com/app-3:1: image app-3:1 cannot be looked up")
    assert "\nexample.com/app-5:1: manifest sha256:" in result["msg"]
    assert [number for number, each in enumerate(result["images"]) if "error" in each] == [3, 5]
    assert len([each for each in result["images"] if each["changed"]]) == 8


def test_a_reason_that_many_images_share_is_told_once(push: Push) -> None:
    result = push(*(f"oci:/media/lacking:app-{number}" for number in range(3)))

    assert result["msg"].count("does not exist") == 1
    assert "oci:/media/lacking:app-0, oci:/media/lacking:app-1, oci:/media/lacking:app-2: " in result["msg"]


def test_an_image_that_failed_says_so_and_nothing_else_of_its_blobs(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("app", "1", other_image)
    server.fail("PUT", "/manifests/", refused(403, "DENIED"))
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
def test_fail_fast_sends_nothing_when_an_image_cannot_even_be_planned(
    push: Push, server: RegistryServer, many: tuple[str, list[Image]], check_mode: bool
) -> None:
    source, images = many
    server.fill("app-0", "1", images[0])
    server.requests.clear()

    result = push(source, "oci:/media/lacking", fail_fast=True, check_mode=check_mode)

    assert server.asked("POST", "PUT", "PATCH") == []
    assert result["changed"] is False
    assert result["images"][0]["digest"] == images[0].digest
    assert {each["error"] for each in result["images"][1:-1]} == {
        "it was not delivered because oci:/media/lacking failed"
    }


def test_fail_fast_leaves_out_what_was_not_begun(
    push: Push, server: RegistryServer, many: tuple[str, list[Image]]
) -> None:
    server.fail("POST", "/app-0/", refused(403, "DENIED"))

    result = push(many[0], fail_fast=True, connections=1)

    changed = [number for number, each in enumerate(result["images"]) if each["changed"]]
    there = [number for number in range(10) if server.digest_of(f"app-{number}", "1")]
    assert changed == there
    assert len(there) < 9
    left = [each["error"] for number, each in enumerate(result["images"]) if number and number not in there]
    assert set(left) == {"it was not delivered because example.com/app-0:1 failed"}


def test_fail_fast_does_not_wait_for_the_images_before(
    push: Push, server: RegistryServer, many: tuple[str, list[Image]]
) -> None:
    last = threading.Event()

    def wait(answer: Answer) -> Answer:
        # The first image is a large one: while it is on its way, the second one fails.
        last.wait(0.5)
        return answer

    def arrive(answer: Answer) -> Answer:
        last.set()
        return answer

    server.fail("PUT", "/app-0/blobs/", wait, times=1)
    server.fail("POST", "/app-1/", refused(403, "DENIED"))
    server.fail("PUT", "/app-9/manifests/", arrive)

    push(many[0], fail_fast=True, connections=2)

    assert server.digest_of("app-9", "1") is None


def test_without_fail_fast_every_other_image_is_delivered(
    push: Push, server: RegistryServer, many: tuple[str, list[Image]]
) -> None:
    server.fail("POST", "/app-0/", refused(403, "DENIED"))

    push(many[0], connections=1)

    assert [bool(server.digest_of(f"app-{number}", "1")) for number in range(10)] == [False] + [True] * 9


def archive_job(tmp_path: Path, image: Image, name: str) -> ImageJob:
    """Return the job that writes an image of a layout to the archive ``app.tar``."""
    folder = write_layout(tmp_path / name, {name: image})
    destination = OciArchiveDestination(tmp_path / "app.tar")
    copy = ImageCopy(OciLayoutSource(FolderFiles(folder)), SourceImage(image.root), destination, name)
    return ImageJob(name, copy, name)


def test_a_bug_leaves_no_half_written_archive(tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(OciArchiveDestination, "publish", stumble)

    with pytest.raises(ZeroDivisionError):
        report(Transfer(2).run([archive_job(tmp_path, image, "app")]))

    assert [path.name for path in tmp_path.iterdir()] == ["app"]


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (ApiServerError("the credentials have ended", status=401), [".app.tar.partial", "app"]),
        (DigestMismatchError("damaged"), ["app"]),
    ],
)
def test_what_came_of_an_archive_is_kept_for_a_run_with_other_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: K8scrError, left: list[str]
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(OciArchiveDestination, "publish", fail)
    large = make_image(layer("bin/app", random.Random(0).randbytes(3 << 20)))

    report(Transfer(2).run([archive_job(tmp_path, large, "app")]))

    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_an_archive_that_cannot_take_its_place_fails_its_images(
    tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)

    result = report(Transfer(2).run([archive_job(tmp_path, image, "app")]))

    assert result["changed"] is False
    assert "app.tar cannot be written: Permission denied" in result["msg"]
    assert [path.name for path in tmp_path.iterdir()] == ["app"]


def test_report_of_a_job_with_an_error_has_its_facts() -> None:
    error = SourceError("it is not there", "Look for it")

    result = report(Transfer(1).run([ImageJob("app", facts={"source": "here"}, error=error)]))

    assert result == {
        "changed": False,
        "failed": True,
        "msg": "1 of 1 images failed. app: it is not there. Look for it.",
        "diff": {"before": "", "after": ""},
        "images": [
            {
                "name": "app",
                "source": "here",
                "target": None,
                "changed": False,
                "digest": None,
                "digest_before": None,
                "error": "it is not there. Look for it.",
            }
        ],
    }


def test_no_images_are_no_change() -> None:
    assert report(Transfer(1, fail_fast=True).run([])) == {
        "changed": False,
        "images": [],
        "diff": {"before": "", "after": ""},
    }
