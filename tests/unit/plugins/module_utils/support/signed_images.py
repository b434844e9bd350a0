# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures of images as artifacts in a registry or layout, and key pairs that sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from signatures.formats import BUNDLE, SIGN_PREDICATE, SIMPLE_SIGNING, key_annotations, key_bundle, payload, statement

from .images import Image, describe, encode, make_image
from .registry_server import RegistryServer, Response
from .upstream_servers import error_of

PREDICATE = "dev.sigstore.bundle.predicateType"
Layer = tuple[bytes, str, Mapping[str, str]]


@dataclass(frozen=True)
class KeyPair:
    """A key pair, whose public key is in a file.

    Attributes:
        public: The file with the public key.
        hash: The hash that is signed, for ECDSA and RSA.
    """

    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    public: Path
    hash: hashes.HashAlgorithm

    def sign(self, content: bytes) -> bytes:
        """Return the signature of a content."""
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(content, ec.ECDSA(self.hash))
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(content, padding.PKCS1v15(), self.hash)
        return self.key.sign(content)


def key_pair(public: Path, kind: str = "p256") -> KeyPair:
    """Make a key pair of a kind: ``p256``, ``p384``, ``p384-sha256``, ``ed25519`` or ``rsa``."""
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if kind == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    elif kind == "rsa":
        key = rsa.generate_private_key(65537, 2048)
    else:
        key = ec.generate_private_key(ec.SECP256R1() if kind == "p256" else ec.SECP384R1())
    written = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public.write_bytes(written)
    return KeyPair(key, public, hashes.SHA384() if kind == "p384" else hashes.SHA256())


def artifact(layers: Sequence[Layer], **manifest: Any) -> Image:
    """Return an artifact of layers: contents with their media types and annotations."""
    described = [describe(content, kind, annotations=dict(more)) for content, kind, more in layers]
    image = make_image(layers=described, **manifest)
    contents = {digest_of(content): content for content, _kind, _more in layers}
    return Image(image.root, {**image.contents, **contents, image.digest: image.contents[image.digest]}, image.config)


def cosign_2(image: Image, pair: KeyPair, digest: str | None = None) -> Image:
    """Return the signature of an image as cosign 2 stores it; with a digest, it is a signature of that digest."""
    content = payload(digest or image.digest)
    return artifact([(content, SIMPLE_SIGNING, key_annotations(content, pair))])


def cosign_3(image: Image, pair: KeyPair, digest: str | None = None, predicate: str = SIGN_PREDICATE) -> Image:
    """Return the signature of an image as cosign 3 stores it; with a digest, it is a signature of that digest."""
    return bundle_of(image, key_bundle(statement(digest or image.digest, predicate), pair), predicate)


def bundle_of(image: Image, bundle: Mapping[str, Any], predicate: str | None = SIGN_PREDICATE) -> Image:
    """Return a bundle as a referrer of an image."""
    annotations = {PREDICATE: predicate} if predicate else {}
    return artifact(
        [(encode(bundle), BUNDLE, {})],
        subject=image.root.to_json(),
        artifactType=BUNDLE,
        annotations=annotations,
    )


def put(server: RegistryServer, repository: str, tag: str | None, stored: Image) -> None:
    """Store an artifact in a registry; a blob of it may look like a manifest."""
    blobs = {digest: content for digest, content in stored.contents.items() if digest != stored.digest}
    server.blobs.setdefault(repository, {}).update(blobs)
    server.fill(repository, tag, Image(stored.root, {stored.digest: stored.contents[stored.digest]}))


def signature_tag(image: Image) -> str:
    """Return cosign's tag for the signatures of an image."""
    return f"{image.digest.replace(':', '-')}.sig"


def referrers_index(*artifacts: Image) -> Image:
    """Return the index that lists artifacts as referrers."""
    entries = []
    for each in artifacts:
        manifest = each.manifest
        more = {key: manifest[key] for key in ("artifactType", "annotations") if manifest.get(key)}
        entries.append({**each.root.to_json(), **more})
    content = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    described = describe(content, OCI_INDEX)
    return Image(type(artifacts[0].root).from_json(described), {digest_of(content): content})


def attach(server: RegistryServer, repository: str, image: Image, *artifacts: Image, api: bool = False) -> None:
    """Store artifacts as referrers of an image, in the referrers API or in the index with the fallback tag."""
    for each in artifacts:
        put(server, repository, None, each)
    index = referrers_index(*artifacts)
    if api:
        content = index.contents[index.digest]
        server.fail("GET", f"/referrers/{image.digest}", Response(200, {"Content-Type": OCI_INDEX}, content))
    else:
        server.fill(repository, image.digest.replace(":", "-"), index)


def rejected(result: dict[str, Any], server: RegistryServer) -> str:
    """Return the error of the only image, of which nothing was sent."""
    assert server.received("POST", "PUT", "PATCH") == []
    return error_of(result)
