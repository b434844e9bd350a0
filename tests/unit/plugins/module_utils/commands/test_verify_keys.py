# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pushes verify signatures with a key, in the formats and places of cosign 2 and 3, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_CONFIG, OCI_MANIFEST
from signatures.formats import BUNDLE, SIMPLE_SIGNING, envelope, key_annotations, key_bundle, payload, statement
from unit.plugins.module_utils.support.images import Image, index_of
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.signed_images import (
    KeyPair,
    artifact,
    attach,
    bundle_of,
    cosign_2,
    cosign_3,
    key_pair,
    put,
    referrers_index,
    rejected,
    signature_tag,
)
from unit.plugins.module_utils.support.upstream_servers import host, settings, source

Push = Callable[..., dict[str, Any]]


def test_push_accepts_signature_of_cosign_2(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image, pair: KeyPair
) -> None:
    upstream.fill("team/app", "1", image)
    put(upstream, "team/app", signature_tag(image), cosign_2(image, pair))

    result = verified()

    assert not result.get("failed"), result["msg"]
    assert server.digest_of("team/app", "1") == image.digest
    assert result["images"][0]["verified"] == {
        "match": "*",
        "by": "cosign_key",
        "digest": image.digest,
        "signature": f"tag {signature_tag(image)}",
    }


@pytest.mark.parametrize("api", [True, False], ids=["referrers API", "fallback tag"])
def test_push_accepts_signature_of_cosign_3(
    verified: Push, upstream: RegistryServer, image: Image, pair: KeyPair, api: bool
) -> None:
    signature = cosign_3(image, pair)
    upstream.fill("team/app", "1", image)
    attach(upstream, "team/app", image, signature, api=api)

    result = verified()

    assert not result.get("failed"), result["msg"]
    assert result["images"][0]["verified"]["signature"] == f"referrer {signature.digest}"


@pytest.mark.parametrize("kind", [None, "application/vnd.oci.empty.v1+json", OCI_CONFIG])
def test_push_accepts_signature_that_is_listed_with_another_artifact_type(
    verified: Push, upstream: RegistryServer, image: Image, pair: KeyPair, kind: str | None
) -> None:
    signature = cosign_3(image, pair)
    entry = {**signature.root.to_json(), **({"artifactType": kind} if kind else {})}
    upstream.fill("team/app", "1", image)
    put(upstream, "team/app", None, signature)
    upstream.fill("team/app", image.digest.replace(":", "-"), index_of([entry]))

    result = verified()

    assert not result.get("failed"), result["msg"]


def test_push_reads_no_artifact_of_another_type(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image, pair: KeyPair
) -> None:
    sbom = artifact([(b"contents", "text/spdx", {})], subject=image.root.to_json(), artifactType="text/spdx")
    provenance = cosign_3(image, pair, predicate="https://slsa.dev/provenance/v1")
    upstream.fill("team/app", "1", image)
    attach(upstream, "team/app", image, sbom, provenance)

    assert "is not signed" in rejected(verified(), server)

    requests = " ".join(map(str, upstream.requests))
    assert sbom.digest not in requests
    assert provenance.digest not in requests


def test_push_reads_limited_number_of_artifacts(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    entries = [{"mediaType": OCI_MANIFEST, "digest": f"sha256:{number:064}", "size": 5} for number in range(300)]
    upstream.fill("team/app", "1", image)
    upstream.fill("team/app", image.digest.replace(":", "-"), index_of(entries))

    assert "no signature of" in rejected(verified(), server)

    assert sum("/manifests/sha256:0000" in str(request) for request in upstream.requests) == 100


def test_push_accepts_signature_of_cosign_2_that_is_a_referrer(
    verified: Push, upstream: RegistryServer, image: Image, pair: KeyPair
) -> None:
    content = payload(image.digest)
    signature = artifact(
        [(content, SIMPLE_SIGNING, key_annotations(content, pair))],
        subject=image.root.to_json(),
        artifactType="application/vnd.dev.cosign.artifact.sig.v1+json",
    )
    upstream.fill("team/app", "1", image)
    attach(upstream, "team/app", image, signature)

    assert not verified().get("failed")


@pytest.mark.parametrize("kind", ["p384", "p384-sha256", "ed25519", "rsa"])
@pytest.mark.parametrize("sign", [cosign_2, cosign_3])
def test_push_accepts_signature_with_other_kinds_of_keys(
    push: Push, upstream: RegistryServer, image: Image, tmp_path: Path, kind: str, sign: Callable[..., Image]
) -> None:
    pair = key_pair(tmp_path / "key.pub", kind)
    upstream.fill("team/app", "1", image)
    if sign is cosign_2:
        put(upstream, "team/app", signature_tag(image), sign(image, pair))
    else:
        attach(upstream, "team/app", image, sign(image, pair))

    result = push(
        source(upstream), upstreams=settings(upstream), verify=[{"match": "*", "cosign_key": str(pair.public)}]
    )

    assert not result.get("failed"), result["msg"]


def test_push_rejects_unsigned_image_and_copies_the_others(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image, other_image: Image, pair: KeyPair
) -> None:
    upstream.fill("team/app", "1", image)
    upstream.fill("team/other", "1", other_image)
    put(upstream, "team/other", signature_tag(other_image), cosign_2(other_image, pair))

    result = verified(source(upstream), source(upstream, "team/other:1"))

    assert result["failed"]
    name = f"{host(upstream)}/team/app:1"
    assert result["msg"] == (
        f"1 of 2 images failed.\n{name}: {image.digest} in repository team/app in {host(upstream)} is not signed: the"
        f" policy '*' of verify requires a signature with the key {pair.public}. Sign it, for example with cosign sign."
    )
    assert "team/app" not in server.manifests
    assert server.digest_of("team/other", "1") == other_image.digest


@pytest.mark.parametrize("sign", [cosign_2, cosign_3])
def test_push_rejects_signature_with_another_key(
    verified: Push,
    server: RegistryServer,
    upstream: RegistryServer,
    image: Image,
    tmp_path: Path,
    sign: Callable[..., Image],
) -> None:
    upstream.fill("team/app", "1", image)
    signature = sign(image, key_pair(tmp_path / "other.pub"))
    put(upstream, "team/app", signature_tag(image), signature)

    error = rejected(verified(), server)

    assert f"no signature of {image.digest}" in error
    assert "another key" in error


@pytest.mark.parametrize("sign", [cosign_2, cosign_3])
def test_push_rejects_signature_of_another_image(
    verified: Push,
    server: RegistryServer,
    upstream: RegistryServer,
    image: Image,
    other_image: Image,
    pair: KeyPair,
    sign: Callable[..., Image],
) -> None:
    upstream.fill("team/app", "1", image)
    signature = sign(image, pair, digest=other_image.digest)
    put(upstream, "team/app", signature_tag(image), signature)

    assert f"it is a signature of another image ({other_image.digest})" in rejected(verified(), server)


def test_push_rejects_changed_payload(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image, other_image: Image, pair: KeyPair
) -> None:
    signed = key_annotations(payload(other_image.digest), pair)
    upstream.fill("team/app", "1", image)
    put(upstream, "team/app", signature_tag(image), artifact([(payload(image.digest), SIMPLE_SIGNING, signed)]))

    assert "it was changed" in rejected(verified(), server)


def test_push_rejects_changed_statement(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image, other_image: Image, pair: KeyPair
) -> None:
    bundle = key_bundle(statement(image.digest), pair)
    bundle["dsseEnvelope"]["signatures"] = envelope(statement(other_image.digest), pair)["signatures"]
    upstream.fill("team/app", "1", image)
    attach(upstream, "team/app", image, bundle_of(image, bundle))

    assert "it was changed" in rejected(verified(), server)


def test_push_rejects_damaged_signature(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image, pair: KeyPair
) -> None:
    upstream.fill("team/app", "1", image)
    put(upstream, "team/app", signature_tag(image), cosign_2(image, pair))
    (digest,) = (each for each, content in upstream.blobs["team/app"].items() if content == payload(image.digest))
    upstream.blobs["team/app"][digest] = payload(image.digest).replace(b"team", b"evil")

    assert "is damaged" in rejected(verified(), server)


def test_push_rejects_attestation_as_signature(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image, pair: KeyPair
) -> None:
    provenance = cosign_3(image, pair, predicate="https://slsa.dev/provenance/v1")
    bundle = key_bundle(statement(image.digest, "https://slsa.dev/provenance/v1"), pair)
    upstream.fill("team/app", "1", image)
    attach(upstream, "team/app", image, provenance, bundle_of(image, bundle, predicate=None))

    assert "is not signed" in rejected(verified(), server)


def test_push_accepts_one_valid_signature_among_invalid_ones(
    verified: Push, upstream: RegistryServer, image: Image, pair: KeyPair, tmp_path: Path
) -> None:
    other = key_pair(tmp_path / "other.pub")
    content = payload(image.digest)
    layers = [
        (content, SIMPLE_SIGNING, key_annotations(content, pair)),
        (content, SIMPLE_SIGNING, key_annotations(content, other)),
        (b"no payload", SIMPLE_SIGNING, {}),
        (content, SIMPLE_SIGNING, {"dev.cosignproject.cosign/signature": "no base64"}),
        (b"no bundle", BUNDLE, {}),
    ]
    upstream.fill("team/app", "1", image)
    put(upstream, "team/app", signature_tag(image), artifact(layers))

    result = verified()

    assert not result.get("failed"), result["msg"]


def test_push_accepts_signature_if_listed_referrer_is_missing(
    verified: Push, upstream: RegistryServer, image: Image, other_image: Image, pair: KeyPair
) -> None:
    upstream.fill("team/app", "1", image)
    missing, signature = cosign_3(other_image, pair), cosign_3(image, pair)
    put(upstream, "team/app", None, signature)
    upstream.fill("team/app", image.digest.replace(":", "-"), referrers_index(signature, missing))

    assert not verified().get("failed")


def test_push_checks_limited_number_of_signatures(
    verified: Push, server: RegistryServer, upstream: RegistryServer, image: Image, tmp_path: Path
) -> None:
    other = key_pair(tmp_path / "other.pub")
    content = payload(image.digest)
    signature = content, SIMPLE_SIGNING, key_annotations(content, other)
    upstream.fill("team/app", "1", image)
    put(upstream, "team/app", signature_tag(image), artifact([signature] * 150))

    error = rejected(verified(), server)

    assert "only 100 signatures and artifacts of an image are checked" in error
    assert len(error) < 2000
