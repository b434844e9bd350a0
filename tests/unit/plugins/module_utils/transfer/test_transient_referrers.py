# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After a transient error about a referrer, the image gets no tag, and the next task copies both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.plugins.module_utils.support.bundle_tasks import blobs, bundle_to
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.referrer_pushes import Run, push_all
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.upstream_servers import settings, source

from .test_referrer_jobs import put_referrers, referrers_tag, sbom_of

pytestmark = pytest.mark.usefixtures("no_credentials", "clock")

UNAVAILABLE = Response(503)
Fault = Callable[[RegistryServer, Image, Image], None]


def fail_list(upstream: RegistryServer, signed: Image, sbom: Image) -> None:
    upstream.fail("GET", "/referrers/", UNAVAILABLE)


def fail_tag(upstream: RegistryServer, signed: Image, sbom: Image) -> None:
    upstream.fail("HEAD", referrers_tag(signed, ".sig"), UNAVAILABLE)


def fail_manifest(upstream: RegistryServer, signed: Image, sbom: Image) -> None:
    upstream.fail("GET", f"/manifests/{sbom.digest}", UNAVAILABLE)


def fail_blob(upstream: RegistryServer, signed: Image, sbom: Image) -> None:
    upstream.fail("HEAD", f"/blobs/{sbom.layers[0]}", UNAVAILABLE)
    upstream.fail("GET", f"/blobs/{sbom.layers[0]}", UNAVAILABLE)


def fail_blob_in_copy(upstream: RegistryServer, signed: Image, sbom: Image) -> None:
    upstream.fail("GET", f"/blobs/{sbom.layers[0]}", UNAVAILABLE)


LOOKUPS = [fail_list, fail_tag, fail_manifest, fail_blob]


@pytest.mark.parametrize("fault", [*LOOKUPS, fail_blob_in_copy])
def test_push_copies_image_and_referrers_in_next_task_after_transient_error(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, sbom: Image, fault: Fault
) -> None:
    fault(upstream, signed, sbom)

    failed = push_all(push, upstream)

    assert failed["failed"]
    assert "error" in failed["images"][0]
    assert "503" in failed["msg"]
    assert server.digest_of("team/app", "1") is None
    upstream.faults.clear()
    again = push_all(push, upstream)
    assert again["images"][0]["referrers"] == {"copied": 2, "left_out": []}
    assert server.digest_of("team/app", "1") == signed.digest


@pytest.mark.parametrize("fault", LOOKUPS)
def test_push_in_check_mode_predicts_failure_after_transient_error(
    push: Run, upstream: RegistryServer, signed: Image, sbom: Image, fault: Fault
) -> None:
    fault(upstream, signed, sbom)

    planned = push_all(push, upstream, check_mode=True)

    assert planned["failed"]
    assert ["error" in each for each in planned["images"]] == [
        "error" in each for each in push_all(push, upstream)["images"]
    ]


def test_push_sets_no_tag_if_list_at_destination_cannot_be_read_now(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, sbom: Image
) -> None:
    server.fail("HEAD", referrers_tag(signed), UNAVAILABLE)

    failed = push_all(push, upstream)

    assert failed["failed"]
    assert server.digest_of("team/app", "1") is None
    server.faults.clear()
    assert push_all(push, upstream)["images"][0]["referrers"]["copied"] == 2


def test_push_copies_other_images_after_transient_error(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, multi: Image
) -> None:
    upstream.fill("team/web", "1", multi)
    upstream.fail("HEAD", referrers_tag(signed, ".sig"), UNAVAILABLE)

    failed = push(source(upstream), source(upstream, "team/web:1"), upstreams=settings(upstream))

    assert failed["failed"]
    assert server.digest_of("team/web", "1") == multi.digest


def test_push_copies_other_images_of_repository_with_one_damaged_referrer(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, other_image: Image
) -> None:
    upstream.fill("team/app", "2", other_image)
    upstream.fail("HEAD", referrers_tag(signed, ".sig"), Response(500))

    result = push_all(push, upstream, "1", "2", connections=1)

    assert ["error" in each for each in result["images"]] == [True, False]
    assert server.digest_of("team/app", "2") == other_image.digest


def test_push_in_check_mode_predicts_layers_that_failed_image_does_not_copy(
    push: Run, upstream: RegistryServer, signed: Image, sbom: Image, other_image: Image
) -> None:
    upstream.fill("team/app", "2", other_image)
    fail_blob(upstream, signed, sbom)

    planned = push_all(push, upstream, "1", "2", check_mode=True)

    assert planned["images"] == push_all(push, upstream, "1", "2")["images"]
    assert ["error" in each for each in planned["images"]] == [True, False]
    assert planned["images"][1]["present"]["blobs"] == 0


def test_push_with_fail_fast_copies_nothing_after_transient_error(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    upstream.fail("GET", "/referrers/", UNAVAILABLE)

    assert push_all(push, upstream, fail_fast=True)["failed"]
    assert not server.blobs


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 501])
def test_push_copies_image_without_referrers_of_registry_that_cannot_list_them(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, status: int
) -> None:
    upstream.fail("GET", "/referrers/", error_response(status, "DENIED"))

    result = push_all(push, upstream)

    assert not result.get("failed"), result["msg"]
    assert server.digest_of("team/app", "1") == signed.digest


@pytest.mark.parametrize("dest", ["oci:{}/out", "oci-archive:{}/out"])
@pytest.mark.parametrize("fault", [*LOOKUPS, fail_blob_in_copy])
def test_pull_copies_image_and_referrers_in_next_task_after_transient_error(
    pull: Run, server: RegistryServer, image: Image, tmp_path: Path, dest: str, fault: Fault
) -> None:
    sbom = sbom_of(image)
    server.fill("team/app", "1", image)
    put_referrers(server, "team/app", image, sbom)
    fault(server, image, sbom)
    entry = {"name": "team/app:1", "dest": dest.format(tmp_path)}

    failed = pull(entry)

    assert failed["failed"]
    assert "error" in failed["images"][0]
    server.faults.clear()
    again = pull(entry)
    assert again["images"][0]["referrers"] == {"copied": 1, "left_out": []}


@pytest.mark.parametrize("dest", ["{}/out", "oci-archive:{}/out"])
@pytest.mark.parametrize("fault", [*LOOKUPS, fail_blob_in_copy])
def test_bundle_has_referrers_after_next_task_completes_it(
    upstream: RegistryServer, signed: Image, sbom: Image, tmp_path: Path, dest: str, fault: Fault
) -> None:
    fault(upstream, signed, sbom)

    failed = bundle_to(dest.format(tmp_path), source(upstream), upstreams=settings(upstream))

    assert failed["failed"]
    upstream.faults.clear()
    again = bundle_to(dest.format(tmp_path), source(upstream), upstreams=settings(upstream))
    assert not again.get("failed"), again["msg"]
    assert again["images"][0]["referrers"] == {"copied": 2, "left_out": []}
    if dest == "{}/out":
        assert {sbom.digest, *sbom.layers} <= blobs(tmp_path / "out")


def test_pull_adds_no_image_to_layout_whose_referrer_fails_before_its_layers_are_copied(
    pull: Run, server: RegistryServer, image: Image, tmp_path: Path
) -> None:
    sbom = sbom_of(image)
    server.fill("team/app", "1", image)
    put_referrers(server, "team/app", image, sbom)
    failed = threading.Event()

    def fail_now(response: Response) -> Response:
        failed.set()
        return error_response(429, "TOOMANYREQUESTS")

    def wait(response: Response) -> Response:
        failed.wait(10)
        time.sleep(0.3)
        return response

    server.fail("GET", f"/blobs/{sbom.layers[0]}", fail_now)
    server.fail("GET", f"/blobs/{image.layers[0]}", wait, times=1)

    result = pull({"name": "team/app:1", "dest": f"oci:{tmp_path}/out"})

    assert "error" in result["images"][0]
    assert not (tmp_path / "out/index.json").exists()
