# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A timestamp authority (RFC 3161) made with the program openssl."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .deployment import der, encode

_CONFIGURATION = """
[tsa]
default_tsa = authority
[authority]
serial = serial
signer_cert = certificate.pem
signer_key = key.pem
signer_digest = sha256
default_policy = 1.3.6.1.4.1.57264.2
digests = sha256
ess_cert_id_alg = sha256
"""


class TimestampAuthority:
    """A timestamp authority.

    Args:
        folder: A new folder for its files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        root, key = (ec.generate_private_key(ec.SECP256R1()) for _number in range(2))
        self._root = _certificate("root", root.public_key(), "root", root)
        self._certificate = _certificate("timestamps", key.public_key(), "root", root)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / "key.pem").write_bytes(pem)
        (folder / "certificate.pem").write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        (folder / "openssl.cnf").write_text(_CONFIGURATION)
        (folder / "serial").write_text("01\n")

    @property
    def trusted(self) -> dict[str, Any]:
        """The authority in a trusted root."""
        chain = [{"rawBytes": encode(der(certificate))} for certificate in (self._certificate, self._root)]
        return {
            "subject": {"organization": "example.com", "commonName": "timestamps"},
            "uri": "https://timestamps.example.com",
            "certChain": {"certificates": chain},
            "validFor": {"start": "2026-01-01T00:00:00Z"},
        }

    def timestamp(self, content: bytes) -> bytes:
        """Return the response with a timestamp of a content, with the current time."""
        (self._folder / "content").write_bytes(content)
        self._openssl("-query", "-data", "content", "-sha256", "-cert", "-no_nonce", "-out", "query")
        self._openssl("-reply", "-config", "openssl.cnf", "-queryfile", "query", "-out", "response")
        return (self._folder / "response").read_bytes()

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", "ts", *arguments], cwd=self._folder, check=True, capture_output=True)


def _certificate(
    name: str, public: ec.EllipticCurvePublicKey, issuer: str, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    is_root = name == issuer
    start = datetime.now(timezone.utc) - timedelta(days=1)
    usage = x509.KeyUsage(not is_root, False, False, False, False, is_root, is_root, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=30))
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
    )
    if is_root:
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    else:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True)
    return builder.sign(key, hashes.SHA256())
