# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deltas have the referrers of their images with all blobs, also those that the other side has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.bundle_check import verify_bundle_at
from unit.plugins.module_utils.support.bundle_tasks import blobs, bundle_to, check_sums, description, tree
from unit.plugins.module_utils.support.images import Image, layer, make_image
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.signed_images import KeyPair, cosign_2, put, signature_tag
from unit.plugins.module_utils.support.upstream_servers import host, settings, source

from ..transfer.test_referrer_jobs import put_referrers, referrers_tag, sbom_of
from .test_bundle_since import reported, write_info

pytestmark = pytest.mark.usefixtures("no_credentials", "clock")

Push = Callable[..., dict[str, Any]]


@pytest.fixture
def far(upstream: RegistryServer, image: Image, pair: KeyPair, tmp_path: Path) -> str:
    """A report of a registry with the tag 1 of a signed image and its signature. ``upstream`` has the tag 2 too."""
    upstream.fill("team/app", "1", image)
    upstream.fill("team/app", "2", image)
    signature = cosign_2(image, pair)
    put(upstream, "team/app", signature_tag(image), signature)
    entries = [reported("team/app", "1", image), reported("team/app", signature_tag(image), signature)]
    return write_info(tmp_path / "far.json", *entries)


@pytest.mark.parametrize("dest", ["{}/out", "oci-archive:{}/out"])
def test_delta_has_blobs_of_signature_that_other_side_has(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image, far: str, tmp_path: Path, dest: str
) -> None:
    bundle_to(dest.format(tmp_path), source(upstream, "team/app:2"), upstreams=settings(upstream), since=far)

    # The registry has lost the signature.
    server.fill("team/app", "1", image)
    result = verified(f"bundle:{tmp_path}/out")

    assert not result.get("failed"), result["msg"]
    assert result["images"][0]["referrers"] == {"copied": 1, "left_out": []}
    assert server.digest_of("team/app", signature_tag(image)) == upstream.digest_of("team/app", signature_tag(image))
    assert verify_bundle_at(tmp_path / "out", None)["faults"] == []


def test_delta_has_layer_of_image_that_is_a_blob_of_its_referrer(upstream: RegistryServer, tmp_path: Path) -> None:
    old = make_image(layer("bin/app", b"program"))
    new = make_image(layer("bin/app", b"program"), layer("etc/app.conf", b"settings"))
    upstream.fill("team/app", "1", old)
    upstream.fill("team/app", "2", new)
    sbom = make_image(layer("bin/app", b"program"), subject=new.root.to_json(), annotations={})
    put_referrers(upstream, "team/app", new, sbom)
    since = write_info(tmp_path / "far.json", reported("team/app", "1", old))
    options: dict[str, Any] = {"upstreams": settings(upstream), "since": since}

    planned = bundle_to(tmp_path / "out", source(upstream, "team/app:2"), **options, check_mode=True)
    done = bundle_to(tmp_path / "out", source(upstream, "team/app:2"), **options)

    assert planned == done
    assert {*new.layers, *sbom.layers} <= blobs(tmp_path / "out")
    assert "omitted" not in description(tmp_path / "out")
    check_sums(tmp_path / "out")
    before = tree(tmp_path / "out")
    assert bundle_to(tmp_path / "out", source(upstream, "team/app:2"), **options)["changed"] is False
    assert tree(tmp_path / "out") == before


def test_delta_sends_no_request_for_referrers_of_image_that_it_leaves_out(
    upstream: RegistryServer, image: Image, far: str, tmp_path: Path
) -> None:
    upstream.requests.clear()

    bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream), since=far)

    assert upstream.received("GET", "HEAD") == ["HEAD /v2/team/app/manifests/1"]
    assert description(tmp_path / "out")["images"] == []


def test_delta_has_image_that_other_side_has_with_required_referrers(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image, far: str, tmp_path: Path
) -> None:
    sbom = sbom_of(image)
    put_referrers(upstream, "team/app", image, sbom)
    entry = {"source": source(upstream), "referrers": True}

    (found, *referrers) = bundle_to(tmp_path / "out", entry, upstreams=settings(upstream), since=far)["images"]

    assert "left_out" not in found
    assert len(referrers) == 2
    assert [each["name"] for each in description(tmp_path / "out")["images"]] == [f"{host(upstream)}/team/app:1"]
    assert {image.digest, sbom.digest, *sbom.layers} <= blobs(tmp_path / "out")
    assert blobs(tmp_path / "out").isdisjoint(image.layers)
    server.fill("team/app", "1", image)
    pushed = push({"source": f"bundle:{tmp_path}/out", "referrers": True})
    assert not pushed.get("failed"), pushed["msg"]
    assert server.digest_of("team/app", referrers_tag(image, ".sig"))
    assert sbom.digest in server.manifests["team/app"]
