# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sigstore bundles, in which cosign 3 stores signatures: a signed in-toto statement about an image.

Specifications: sigstore/protobuf-specs (bundle), secure-systems-lab/dsse (envelope), in-toto/attestation (statement).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..oci.json_object import json_object, json_objects
from ..oci.manifest import load_json_object
from .signature import SHOWN, InvalidSignatureError, Signature, decode

BUNDLE = "application/vnd.dev.sigstore.bundle"
"""The beginning of the media types of bundles."""
SIGNS_IMAGE = "https://sigstore.dev/cosign/sign/v1"
"""The predicate of a statement that is a signature; other statements, such as the provenance, are attestations."""
PREDICATE_ANNOTATION = "dev.sigstore.bundle.predicateType"
_STATEMENT = "application/vnd.in-toto+json"
_STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")


def read_bundle(content: bytes, origin: str) -> Signature | None:
    """Return the signature in a bundle; ``None`` if the bundle has another statement.

    Args:
        origin: Where the source has it, for messages.

    Raises:
        InvalidSignatureError: The bundle is invalid.
    """
    bundle = _json(content, "bundle")
    if not str(bundle.get("mediaType")).startswith(BUNDLE):
        raise InvalidSignatureError(f"its bundle has the media type {bundle.get('mediaType')!r:.{SHOWN}}")
    envelope = json_object(bundle.get("dsseEnvelope"))
    signatures = list(json_objects(envelope.get("signatures")))
    if len(signatures) != 1:
        raise InvalidSignatureError(f"its bundle has {len(signatures)} signatures of a statement, not one")
    kind, payload = envelope.get("payloadType"), decode(envelope.get("payload"), "statement")
    if kind != _STATEMENT:
        raise InvalidSignatureError(f"its statement has the type {kind!r:.{SHOWN}}")
    statement = _json(payload, "statement")
    if statement.get("_type") not in _STATEMENT_TYPES:
        raise InvalidSignatureError(f"its statement has the format {statement.get('_type')!r:.{SHOWN}}")
    if statement.get("predicateType") != SIGNS_IMAGE:
        return None
    value = decode(signatures[0].get("sig"), "signature")
    # The encoding of DSSE binds the type and the length of the payload.
    message = b"DSSEv1 %d %s %d %s" % (len(_STATEMENT), _STATEMENT.encode(), len(payload), payload)
    with_certificate = bundle if _has_certificate(bundle) else None
    return Signature(origin, frozenset(_digests(statement)), message, value, None, with_certificate)


def _digests(statement: Mapping[str, Any]) -> list[str]:
    subjects = json_objects(statement.get("subject"))
    return [f"{name}:{value}" for subject in subjects for name, value in json_object(subject.get("digest")).items()]


def _has_certificate(bundle: Mapping[str, Any]) -> bool:
    material = json_object(bundle.get("verificationMaterial"))
    return bool(material.get("certificate") or material.get("x509CertificateChain"))


def _json(content: bytes, what: str) -> dict[str, Any]:
    try:
        return load_json_object(content, f"its {what}")
    except InputError as error:
        raise InvalidSignatureError(error.message) from error
