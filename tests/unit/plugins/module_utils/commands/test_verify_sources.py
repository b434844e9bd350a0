# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pushes verify the digest that a source has for an image, in sources of all kinds, whether or not it exists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.plugins.module_utils.support.images import (
    Image,
    make_index,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.signed_images import (
    KeyPair,
    artifact,
    attach,
    cosign_2,
    cosign_3,
    key_pair,
    put,
    rejected,
    signature_tag,
)
from unit.plugins.module_utils.support.tool_layouts import cosign_entries, named, write_entries
from unit.plugins.module_utils.support.upstream_servers import host, source

Push = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("sign", [cosign_2, cosign_3])
def test_push_names_signature_of_child_if_index_is_not_signed(
    verified: Push,
    server: RegistryServer,
    upstream: RegistryServer,
    image: Image,
    other_image: Image,
    pair: KeyPair,
    sign: Callable[..., Image],
) -> None:
    index = make_index({"linux/amd64": image, "linux/arm64": other_image})
    upstream.fill("team/app", "1", index)
    if sign is cosign_2:
        put(upstream, "team/app", signature_tag(other_image), sign(other_image, pair))
    else:
        attach(upstream, "team/app", other_image, sign(other_image, pair))

    error = rejected(verified(), server)

    assert f"{index.digest} in repository team/app in {host(upstream)} is not signed" in error
    assert f"its manifest {other_image.digest} has a signature, but the index itself has none" in error


def test_push_verifies_index_from_which_platforms_are_selected(
    verified: Push, server: RegistryServer, upstream: RegistryServer, multi: Image, pair: KeyPair
) -> None:
    upstream.fill("team/app", "1", multi)
    put(upstream, "team/app", signature_tag(multi), cosign_2(multi, pair))

    result = verified({"source": source(upstream), "platforms": ["linux/arm64"]})

    assert not result.get("failed"), result["msg"]
    assert result["images"][0]["digest"] == multi.manifest["manifests"][1]["digest"]
    assert result["images"][0]["verified"]["digest"] == multi.digest


def test_push_rejects_unsigned_child_of_signed_index(
    verified: Push, server: RegistryServer, upstream: RegistryServer, multi: Image, pair: KeyPair
) -> None:
    child = multi.manifest["manifests"][0]["digest"]
    upstream.fill("team/app", "1", multi)
    put(upstream, "team/app", signature_tag(multi), cosign_2(multi, pair))

    assert f"{child} in" in rejected(verified(source(upstream, f"team/app@{child}")), server)


def test_push_names_signature_of_notation(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    signature = artifact(
        [(b"signed", "application/jose+json", {})],
        subject=image.root.to_json(),
        artifactType="application/vnd.cncf.notary.signature",
    )
    upstream.fill("team/app", "1", image)
    attach(upstream, "team/app", image, signature)

    assert "it has a signature of notation; only signatures of cosign are verified" in rejected(verified(), server)


@pytest.mark.parametrize("sign", [cosign_2, cosign_3])
def test_push_verifies_image_of_layout(
    verified: Push, server: RegistryServer, image: Image, pair: KeyPair, tmp_path: Path, sign: Callable[..., Image]
) -> None:
    signature = sign(image, pair)
    name = {cosign_2: signature_tag(image)}.get(sign, "signature")
    entries = [named(image, "docker.io/team/app:1"), named(signature, name)]
    if sign is cosign_3:
        entries[1] = (signature, {})
    write_entries(tmp_path / "layout", entries)

    result = verified(f"oci:{tmp_path}/layout:docker.io/team/app:1")

    assert not result.get("failed"), result["msg"]
    assert server.digest_of("team/app", "1") == image.digest


def test_push_verifies_image_of_archive(verified: Push, image: Image, pair: KeyPair, tmp_path: Path) -> None:
    contents = {"docker.io/team/app:1": image, signature_tag(image): cosign_2(image, pair)}
    archive = write_oci_archive(tmp_path / "app.tar", contents)

    result = verified(f"oci-archive:{archive}")

    assert not result.get("failed"), result["msg"]
    names = ["docker.io/team/app:1", f"docker.io/team/app:{signature_tag(image)}"]
    assert [each["name"] for each in result["images"]] == names


def test_push_verifies_image_that_cosign_saved(verified: Push, image: Image, pair: KeyPair, tmp_path: Path) -> None:
    write_entries(tmp_path / "saved", cosign_entries(image, sigs=cosign_2(image, pair)))

    result = verified({"source": f"oci:{tmp_path}/saved", "name": "docker.io/team/app:1"})

    assert not result.get("failed"), result["msg"]


def test_push_rejects_unsigned_image_of_layout(
    verified: Push, server: RegistryServer, image: Image, tmp_path: Path
) -> None:
    write_layout(tmp_path / "layout", {"docker.io/team/app:1": image})

    assert "is not signed" in rejected(verified(f"oci:{tmp_path}/layout"), server)


def test_push_rejects_source_without_signatures(
    verified: Push, server: RegistryServer, image: Image, tmp_path: Path
) -> None:
    write_docker_archive(tmp_path / "app.tar", [(["docker.io/team/app:1"], image)])

    error = rejected(verified(f"docker-archive:{tmp_path}/app.tar"), server)

    assert "cannot store signatures, and the policy '*' of verify requires" in error
    assert "or set allow: unsigned for this image" in error


def test_push_verifies_existing_image(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    server.fill("team/app", "1", image)
    upstream.fill("team/app", "1", image)

    assert "is not signed" in rejected(verified(), server)


def test_push_sends_what_was_verified_if_tag_moves(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image, other_image: Image, pair: KeyPair
) -> None:
    upstream.fill("team/app", "1", image)
    put(upstream, "team/app", signature_tag(image), cosign_2(image, pair))
    moved: list[str] = []

    def move(path: str, _headers: object) -> Response | None:
        if path.endswith(".sig") and not moved:
            moved.append(path)
            upstream.fill("team/app", "1", other_image)
        return None

    upstream.guard = move

    result = verified()

    assert moved
    assert upstream.digest_of("team/app", "1") == other_image.digest
    assert server.digest_of("team/app", "1") == image.digest, result.get("msg")


def test_push_reads_signature_of_each_digest_once(
    verified: Push, upstream: RegistryServer, image: Image, pair: KeyPair
) -> None:
    for tag in ("1", "2", "3"):
        upstream.fill("team/app", tag, image)
    put(upstream, "team/app", signature_tag(image), cosign_2(image, pair))

    result = verified(*(source(upstream, f"team/app:{tag}") for tag in ("1", "2", "3")))

    assert not result.get("failed"), result["msg"]
    assert sum(signature_tag(image) in str(request) for request in upstream.requests) == 1


def test_push_verifies_in_check_mode(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    upstream.fill("team/app", "1", image)

    assert "is not signed" in rejected(verified(check_mode=True), server)


def test_push_reports_unavailable_signatures_as_error_of_source(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    upstream.fail("GET", "/referrers/", error_response(401, "UNAUTHORIZED"))

    error = rejected(verified(), server)

    assert "is not signed" not in error
    assert "401" in error


def test_push_sends_no_further_lookup_after_transient_error_of_verification(
    verified: Push, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    upstream.fill("team/app", "2", other_image)
    upstream.fail("HEAD", signature_tag(image), Response(503))

    result = verified(source(upstream), source(upstream, "team/app:2"), connections=1)

    assert ["503" in each["error"] for each in result["images"]] == [True, True]
    assert not any(signature_tag(other_image) in request for request in upstream.received("HEAD"))


def test_push_leaves_out_referrers_of_rejected_image(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image, tmp_path: Path
) -> None:
    upstream.fill("team/app", "1", image)
    put(upstream, "team/app", signature_tag(image), cosign_2(image, key_pair(tmp_path / "other.pub")))

    result = verified({"source": source(upstream), "referrers": True})

    assert len(result["images"]) == 1
    assert "another key" in rejected(result, server)


def test_push_verifies_index_of_one_platform(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image, pair: KeyPair
) -> None:
    index = make_index({"linux/amd64": image})
    upstream.fill("team/app", "1", index)
    put(upstream, "team/app", signature_tag(image), cosign_2(image, pair))

    error = rejected(verified(), server)

    assert f"its manifest {image.digest} has a signature" in error
