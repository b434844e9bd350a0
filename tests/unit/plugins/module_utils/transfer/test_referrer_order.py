# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Referrers are stored before the tag of their image, also if one of them fails."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.listener import Listener
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import ImageResult, ReferrersReport
from unit.plugins.module_utils.support.images import Image, layer, make_image
from unit.plugins.module_utils.support.referrer_pushes import Run, manifest_puts, push_all, push_one
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.upstream_servers import settings, source

from .test_referrer_jobs import put_referrers, referrers_tag, sbom_of


def test_push_stores_subject_then_referrers_then_tag(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, sbom: Image
) -> None:
    push_all(push, upstream)

    subject, *referrers, tag = manifest_puts(server)

    assert (subject, tag) == (signed.digest, "1")
    assert sorted(referrers) == sorted([sbom.digest, referrers_tag(signed), referrers_tag(signed, ".sig")])


def test_push_stores_referrer_before_its_own_referrer(
    push: Run, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    sbom = sbom_of(image)
    signature = sbom_of(sbom, b"its signature")
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, sbom)
    put_referrers(upstream, "team/app", sbom, signature)

    push_all(push, upstream, connections=8)

    order = manifest_puts(server)
    assert order.index(image.digest) < order.index(sbom.digest) < order.index(signature.digest) < order.index("1")


@pytest.mark.parametrize("mode", ["auto", True])
def test_push_sets_no_tag_before_last_referrer_of_many(
    push: Run, server: RegistryServer, upstream: RegistryServer, mode: str | bool
) -> None:
    images = [make_image(layer("bin/app", b"%d" % number)) for number in range(40)]
    for number, image in enumerate(images):
        upstream.fill("team/app", str(number), image)
        put_referrers(upstream, "team/app", image, sbom_of(image))
    entries = [{"source": source(upstream, f"team/app:{number}"), "referrers": mode} for number in range(40)]

    result = push(*entries, upstreams=settings(upstream), connections=2)

    order = manifest_puts(server)
    assert not result.get("failed"), result.get("msg")
    assert [each.get("tag") for each in result["images"] if not each.get("subject")] == list(map(str, range(40)))
    for number, image in enumerate(images):
        assert order.index(image.digest) < order.index(referrers_tag(image)) < order.index(str(number))


@pytest.mark.parametrize("mode", ["auto", True])
def test_push_retries_referrer_in_next_task_after_transient_failure(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, mode: str | bool
) -> None:
    server.fail("PUT", referrers_tag(signed, ".sig"), Response(503), times=20)

    failed = push_one(push, upstream, referrers=mode)
    server.faults.clear()
    again = push_one(push, upstream, referrers=mode)

    assert failed["failed"]
    assert [bool(each.get("error")) for each in failed["images"]] == [mode == "auto", True]
    assert not again.get("failed")
    assert server.digest_of("team/app", referrers_tag(signed, ".sig"))
    assert server.digest_of("team/app", "1") == signed.digest


def test_push_lists_no_referrers_of_failed_image(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    server.fail("PUT", f"manifests/{signed.digest}", error_response(403, "DENIED"))

    result = push_all(push, upstream)

    (entry,) = result["images"]
    assert "error" in entry
    assert "referrers" not in entry
    assert "warnings" not in result
    assert server.digest_of("team/app", referrers_tag(signed, ".sig")) is None


def test_push_with_required_referrers_reports_them_after_failed_image(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    server.fail("PUT", f"manifests/{signed.digest}", error_response(403, "DENIED"))

    result = push_one(push, upstream, referrers=True)

    assert [bool(each.get("error")) for each in result["images"]] == [True, True]
    assert "the image to which it refers failed" in result["images"][1]["error"]


def test_push_with_fail_fast_looks_for_no_referrers_after_failed_plan(
    push: Run, upstream: RegistryServer, signed: Image
) -> None:
    push_all(push, upstream, "missing", "1", fail_fast=True)

    assert not any("sha256-" in request for request in upstream.received("HEAD"))


def test_push_with_fail_fast_goes_on_without_optional_referrer(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    server.fail("PUT", referrers_tag(signed, ".sig"), error_response(405, "UNSUPPORTED"))

    result = push_all(push, upstream, fail_fast=True)

    assert not result.get("failed")
    assert server.digest_of("team/app", "1") == signed.digest


def test_push_with_fail_fast_sets_no_tag_after_failed_referrer(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    server.fail("PUT", referrers_tag(signed, ".sig"), error_response(405, "UNSUPPORTED"))

    result = push({"source": source(upstream), "referrers": True}, upstreams=settings(upstream), fail_fast=True)

    assert [bool(each.get("error")) for each in result["images"]] == [True, True]
    assert server.digest_of("team/app", "1") is None


def test_push_copies_blobs_that_vanish_before_tag_again(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    def collect(response: Response) -> Response:
        server.manifests["team/app"].pop(signed.digest, None)
        server.blobs["team/app"].clear()
        return response

    server.fail("PUT", referrers_tag(signed, ".sig"), collect, times=1)

    result = push_all(push, upstream)

    assert not result.get("failed"), result.get("msg")
    assert server.digest_of("team/app", "1") == signed.digest
    assert set(signed.layers) <= set(server.blobs["team/app"])


def test_listener_receives_image_with_number_of_its_referrers(
    push: Run, upstream: RegistryServer, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    sbom = sbom_of(image)
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, sbom)
    put_referrers(upstream, "team/app", sbom, sbom_of(sbom, b"its signature"))
    done: list[ImageResult] = []
    monkeypatch.setattr(Listener, "image_done", lambda _listener, result: done.append(result))

    push_all(push, upstream)

    assert [result.referrers for result in done if not result.plan.job.subject] == [ReferrersReport(2)]
