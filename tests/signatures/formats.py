# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The formats of signatures: cosign's payload with annotations, and Sigstore's bundle."""

from __future__ import annotations

import base64
import json
from typing import Any, Protocol

from .deployment import Deployment, LogEntry, Signer, der, encode, sha256
from .timestamps import TimestampAuthority

SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
CHAIN = "dev.sigstore.cosign/chain"
LOG_ENTRY = "dev.sigstore.cosign/bundle"
TIMESTAMP = "dev.sigstore.cosign/rfc3161timestamp"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
STATEMENT = "application/vnd.in-toto+json"


class Key(Protocol):
    """A key that signs."""

    def sign(self, content: bytes) -> bytes:
        """Return the signature of a content."""


def payload(digest: str, name: str = "registry.example.com/team/app") -> bytes:
    """Return the content that cosign 2 signs for an image."""
    critical = {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()


def statement(digest: str, predicate: str = SIGN_PREDICATE) -> bytes:
    """Return the content that cosign 3 signs for an image."""
    algorithm, _colon, encoded = digest.partition(":")
    value = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {algorithm: encoded}, "annotations": {}}],
        "predicateType": predicate,
        "predicate": {},
    }
    return json.dumps(value, separators=(",", ":")).encode()


def key_annotations(content: bytes, key: Key) -> dict[str, str]:
    """Return cosign 2's annotations for a signature of a payload with a key."""
    return {SIGNATURE: encode(key.sign(content))}


def certificate_annotations(
    content: bytes, signer: Signer, deployment: Deployment, minute: float = 1
) -> dict[str, str]:
    """Return cosign 2's annotations for a signature of a payload with a certificate."""
    signature = signer.sign(content)
    entry = log_payload(content, signature, signer, deployment, minute)
    logged = {
        "SignedEntryTimestamp": encode(entry.promise),
        "Payload": {
            "body": encode(entry.body),
            "integratedTime": entry.time,
            "logIndex": entry.index,
            "logID": entry.log.hex(),
        },
    }
    chain = Signer(deployment.authority, signer.key).pem
    return {
        SIGNATURE: encode(signature),
        CERTIFICATE: signer.pem,
        CHAIN: chain,
        LOG_ENTRY: json.dumps(logged, separators=(",", ":")),
    }


def timestamp_annotations(content: bytes, signer: Signer, authority: TimestampAuthority) -> dict[str, str]:
    """Return cosign 2's annotations for a signature with a certificate and a timestamp, without a log."""
    signature = signer.sign(content)
    timestamp = json.dumps({"SignedRFC3161Timestamp": encode(authority.timestamp(signature))})
    return {SIGNATURE: encode(signature), CERTIFICATE: signer.pem, TIMESTAMP: timestamp}


def log_payload(
    content: bytes, signature: bytes, signer: Signer, deployment: Deployment, minute: float = 1
) -> LogEntry:
    """Add the signature of a payload to the transparency log."""
    spec = {
        "data": {"hash": {"algorithm": "sha256", "value": sha256(content)}},
        "signature": {"content": encode(signature), "publicKey": {"content": encode(signer.pem.encode())}},
    }
    return deployment.log("hashedrekord", spec, signer, minute)


def envelope(content: bytes, key: Key, kind: str = STATEMENT) -> dict[str, Any]:
    """Return a DSSE envelope with a signed content."""
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(content), content)
    return {"payload": encode(content), "payloadType": kind, "signatures": [{"sig": encode(key.sign(signed))}]}


def key_bundle(content: bytes, key: Key, kind: str = STATEMENT) -> dict[str, Any]:
    """Return the bundle of a statement that a key signs."""
    material = {"publicKey": {"hint": "test"}}
    return {"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope(content, key, kind)}


def certificate_bundle(content: bytes, signer: Signer, deployment: Deployment, minute: float = 1) -> dict[str, Any]:
    """Return the bundle of a statement that is signed with a certificate."""
    signed = envelope(content, signer)
    spec = {
        "envelopeHash": {"algorithm": "sha256", "value": sha256(json.dumps(signed).encode())},
        "payloadHash": {"algorithm": "sha256", "value": sha256(content)},
        "signatures": [{"signature": signed["signatures"][0]["sig"], "verifier": encode(signer.pem.encode())}],
    }
    entry = deployment.log("dsse", spec, signer, minute)
    material = {"certificate": {"rawBytes": encode(der(signer.certificate))}, "tlogEntries": [_log_entry(entry)]}
    return {"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": signed}


def timestamp_bundle(content: bytes, signer: Signer, authority: TimestampAuthority) -> dict[str, Any]:
    """Return the bundle of a statement that is signed with a certificate and has a timestamp, without a log."""
    signed = envelope(content, signer)
    timestamp = authority.timestamp(base64.b64decode(signed["signatures"][0]["sig"]))
    material = {
        "certificate": {"rawBytes": encode(der(signer.certificate))},
        "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": encode(timestamp)}]},
    }
    return {"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": signed}


def _log_entry(entry: LogEntry) -> dict[str, Any]:
    return {
        "logIndex": str(entry.index),
        "logId": {"keyId": encode(entry.log)},
        "kindVersion": {"kind": entry.kind, "version": "0.0.1"},
        "integratedTime": str(entry.time),
        "inclusionPromise": {"signedEntryTimestamp": encode(entry.promise)},
        "inclusionProof": {
            "logIndex": "0",
            "rootHash": encode(entry.root),
            "treeSize": "1",
            "hashes": [],
            "checkpoint": {"envelope": entry.checkpoint},
        },
        "canonicalizedBody": encode(entry.body),
    }
