# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A deployment of Sigstore in memory: a certificate authority, a certificate log and a transparency log."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ISSUER = "https://tokens.example.com"
"""The identity provider of the deployment's certificates."""
_ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_LOG = "rekor.example.com"
_INDEX = 7
"""The index of each entry among those of all shards of the log; each entry is the first one of its shard."""
_START = datetime(2026, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Signer:
    """A short-lived certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def sign(self, content: bytes) -> bytes:
        """Return the signature of a content."""
        return self.key.sign(content, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True)
class LogEntry:
    """An entry of the transparency log."""

    kind: str
    body: bytes
    time: int
    index: int
    log: bytes
    promise: bytes
    root: bytes
    checkpoint: str


class Deployment:
    """A deployment of Sigstore.

    Args:
        certificate_log: Whether certificates have a proof that a certificate log has them.
    """

    def __init__(self, certificate_log: bool = True) -> None:
        self._authority_key, self._log_key, self._certificate_log_key = (_key() for _number in range(3))
        self._has_certificate_log = certificate_log
        self.authority = self._make_authority()

    @property
    def trusted_root(self) -> dict[str, Any]:
        """The trusted root of the deployment."""
        valid = {"start": "2026-01-01T00:00:00Z"}
        root: dict[str, Any] = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "certificateAuthorities": [
                {
                    "subject": {"organization": "example.com", "commonName": "authority"},
                    "uri": "https://fulcio.example.com",
                    "certChain": {"certificates": [{"rawBytes": encode(der(self.authority))}]},
                    "validFor": valid,
                }
            ],
            "tlogs": [_log_instance(_LOG, self._log_key, valid)],
        }
        if self._has_certificate_log:
            root["ctlogs"] = [_log_instance("ctfe.example.com", self._certificate_log_key, valid)]
        return root

    def write_keys(self, folder: Path) -> None:
        """Write the keys and the certificate of the deployment to PEM files, as its users get them."""
        for name, key in (("rekor.pub", self._log_key), ("ctfe.pub", self._certificate_log_key)):
            pem = key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            (folder / name).write_bytes(pem)
        (folder / "fulcio.pem").write_bytes(self.authority.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, identity: str, issuer: str = ISSUER, at: datetime = _START + timedelta(days=9), minutes: int = 10
    ) -> Signer:
        """Issue a certificate for an identity, an e-mail address or a URL."""
        key = _key()
        return Signer(self.certify(key.public_key(), identity, issuer, at, minutes), key)

    def certify(
        self,
        key: ec.EllipticCurvePublicKey,
        identity: str,
        issuer: str = ISSUER,
        at: datetime = _START + timedelta(days=9),
        minutes: int = 10,
    ) -> x509.Certificate:
        """Return a certificate of a key for an identity."""
        is_mail = "@" in identity and "://" not in identity
        name = x509.RFC822Name(identity) if is_mail else x509.UniformResourceIdentifier(identity)
        usage = x509.KeyUsage(True, *[False] * 8)
        text = issuer.encode()
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (usage, True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
            (x509.SubjectKeyIdentifier.from_public_key(key), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._authority_key.public_key()), False),
            (x509.SubjectAlternativeName([name]), True),
            (x509.UnrecognizedExtension(_ISSUER_V1, text), False),
            (x509.UnrecognizedExtension(_ISSUER_V2, b"\x0c" + bytes([len(text)]) + text), False),
        ]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.authority.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(at)
            .not_valid_after(at + timedelta(minutes=minutes))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        certificate = builder.sign(self._authority_key, hashes.SHA256())
        if not self._has_certificate_log:
            return certificate
        proof = self._certificate_proof(certificate.tbs_certificate_bytes, at)
        builder = builder.add_extension(x509.UnrecognizedExtension(_SCT_LIST, proof), False)
        return builder.sign(self._authority_key, hashes.SHA256())

    def log(self, kind: str, spec: dict[str, Any], signer: Signer, minute: float = 1) -> LogEntry:
        """Add an entry to the transparency log, some minutes after the certificate became valid."""
        body = json.dumps({"apiVersion": "0.0.1", "kind": kind, "spec": spec}, separators=(",", ":")).encode()
        return self.log_body(
            body, int((signer.certificate.not_valid_before_utc + timedelta(minutes=minute)).timestamp())
        )

    def log_body(self, body: bytes, time: int) -> LogEntry:
        """Add an entry to the transparency log at a time, in seconds since 1970."""
        log = hashlib.sha256(_public(self._log_key)).digest()
        promised = {"body": encode(body), "integratedTime": time, "logID": log.hex(), "logIndex": _INDEX}
        promise = self._log_key.sign(
            json.dumps(promised, separators=(",", ":"), sort_keys=True).encode(), ec.ECDSA(hashes.SHA256())
        )
        root = hashlib.sha256(b"\x00" + body).digest()
        head = f"{_LOG} - 1\n1\n{encode(root)}\n"
        signature = log[:4] + self._log_key.sign(head.encode(), ec.ECDSA(hashes.SHA256()))
        checkpoint = f"{head}\n\u2014 {_LOG} {encode(signature)}\n"
        return LogEntry(json.loads(body)["kind"], body, time, _INDEX, log, promise, root, checkpoint)

    def _make_authority(self) -> x509.Certificate:
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "example.com"),
                x509.NameAttribute(NameOID.COMMON_NAME, "authority"),
            ]
        )
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        public = self._authority_key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_START)
            .not_valid_after(_START + timedelta(days=3650))
            .add_extension(usage, True)
            .add_extension(x509.BasicConstraints(True, 1), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
            .sign(self._authority_key, hashes.SHA256())
        )

    def _certificate_proof(self, certificate: bytes, at: datetime) -> bytes:
        """Return the list with one signed certificate timestamp (RFC 6962) as the value of its extension."""
        log = hashlib.sha256(_public(self._certificate_log_key)).digest()
        time = struct.pack(">Q", int(at.timestamp() * 1000))
        issuer = hashlib.sha256(_public(self._authority_key)).digest()
        length = struct.pack(">I", len(certificate))[1:]
        signed = b"\0\0" + time + b"\0\1" + issuer + length + certificate + b"\0\0"
        signature = self._certificate_log_key.sign(signed, ec.ECDSA(hashes.SHA256()))
        timestamp = b"\0" + log + time + b"\0\0" + b"\4\3" + _prefixed(signature)
        content = _prefixed(_prefixed(timestamp))
        return b"\x04" + (bytes([len(content)]) if len(content) < 128 else b"\x81" + bytes([len(content)])) + content


def der(certificate: x509.Certificate) -> bytes:
    """Return the DER encoding of a certificate."""
    return certificate.public_bytes(serialization.Encoding.DER)


def encode(content: bytes) -> str:
    """Return the base64 encoding of a content."""
    return base64.b64encode(content).decode()


def sha256(content: bytes) -> str:
    """Return the digest of a content in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _prefixed(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


def _log_instance(host: str, key: ec.EllipticCurvePrivateKey, valid: dict[str, str]) -> dict[str, Any]:
    public = _public(key)
    return {
        "baseUrl": f"https://{host}",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": encode(public), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid},
        "logId": {"keyId": encode(hashlib.sha256(public).digest())},
    }
