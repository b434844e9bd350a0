# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures in the format of cosign 2: a layer with a payload, and the signature in the layer's annotations.

The payload is a JSON object of the format "simple signing" (containers/image, atomic-signature.md).
"""

from __future__ import annotations

import binascii
import hashlib
import ssl
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..oci.descriptor import Descriptor
from ..oci.json_object import json_object
from ..oci.manifest import load_json_object
from .signature import SHOWN, InvalidSignatureError, Signature, decode, encode

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
"""The media type of a payload."""
_TYPES = ("cosign container image signature", "https://sigstore.dev/cosign/sign/v1")
_SIGNATURE = "dev.cosignproject.cosign/signature"
_CERTIFICATE = "dev.sigstore.cosign/certificate"
_LOG_ENTRY = "dev.sigstore.cosign/bundle"
_TIMESTAMP = "dev.sigstore.cosign/rfc3161timestamp"
_BUNDLE = "application/vnd.dev.sigstore.bundle+json;version=0.1"
"""The version of bundles whose log entries need no inclusion proof; cosign 2 stores none."""


def read_payload(layer: Descriptor, content: bytes, origin: str) -> Signature:
    """Return the signature of a payload.

    Args:
        layer: The payload's descriptor, with the signature in its annotations.
        origin: Where the source has it, for messages.

    Raises:
        InvalidSignatureError: The payload or an annotation is invalid.
    """
    critical = json_object(_json(content, "payload").get("critical"))
    if critical.get("type") not in _TYPES:
        raise InvalidSignatureError(f"its payload has the type {critical.get('type')!r:.{SHOWN}}")
    digest = json_object(critical.get("image")).get("docker-manifest-digest")
    digests = frozenset((digest,) if isinstance(digest, str) else ())
    value = decode(layer.annotations.get(_SIGNATURE), f"annotation {_SIGNATURE}")
    bundle = _bundle(layer.annotations, content, value) if layer.annotations.get(_CERTIFICATE) else None
    return Signature(origin, digests, content, value, content, bundle)


def _bundle(annotations: Mapping[str, str], content: bytes, value: bytes) -> dict[str, Any]:
    """Return the Sigstore bundle with the content of the annotations."""
    try:
        certificate = ssl.PEM_cert_to_DER_cert(annotations[_CERTIFICATE].strip())
    except (ValueError, binascii.Error) as error:
        raise InvalidSignatureError(f"its annotation {_CERTIFICATE} is not a certificate in PEM") from error
    material: dict[str, Any] = {"x509CertificateChain": {"certificates": [{"rawBytes": encode(certificate)}]}}
    if annotations.get(_LOG_ENTRY):
        material["tlogEntries"] = [_log_entry(_json(annotations[_LOG_ENTRY].encode(), f"annotation {_LOG_ENTRY}"))]
    if annotations.get(_TIMESTAMP):
        timestamp = _json(annotations[_TIMESTAMP].encode(), f"annotation {_TIMESTAMP}")
        entry = {"signedTimestamp": timestamp.get("SignedRFC3161Timestamp")}
        material["timestampVerificationData"] = {"rfc3161Timestamps": [entry]}
    digest = {"algorithm": "SHA2_256", "digest": encode(hashlib.sha256(content).digest())}
    signature = {"messageDigest": digest, "signature": encode(value)}
    return {"mediaType": _BUNDLE, "verificationMaterial": material, "messageSignature": signature}


def _log_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    payload = json_object(entry.get("Payload"))
    body = payload.get("body")
    described = _json(decode(body, "body of the log entry"), "log entry")
    try:
        log = bytes.fromhex(str(payload.get("logID")))
    except ValueError as error:
        raise InvalidSignatureError("the log ID of its log entry is not hexadecimal") from error
    return {
        "logIndex": str(payload.get("logIndex")),
        "logId": {"keyId": encode(log)},
        "kindVersion": {"kind": described.get("kind"), "version": described.get("apiVersion")},
        "integratedTime": str(payload.get("integratedTime")),
        "inclusionPromise": {"signedEntryTimestamp": entry.get("SignedEntryTimestamp")},
        "canonicalizedBody": body,
    }


def _json(content: bytes, what: str) -> dict[str, Any]:
    try:
        return load_json_object(content, f"its {what}")
    except InputError as error:
        raise InvalidSignatureError(error.message) from error
