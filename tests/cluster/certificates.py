# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's certificate authorities and certificates, made with openssl."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import layout
from .errors import ClusterError

_DAYS = "3650"
# Strict verifiers require the key usage of an authority, and key identifiers in all certificates.
_AUTHORITY = """\
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
"""
_SIGNED = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {usages}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, on disk."""

    name: str

    @property
    def certificate(self) -> Path:
        """The certificate's file."""
        return layout.PKI / f"{self.name}.crt"

    @property
    def key(self) -> Path:
        """The private key's file."""
        return layout.PKI / f"{self.name}.key"

    def exists(self) -> bool:
        """Return whether both files exist; the certificate is written last."""
        return self.certificate.exists()


CA = Pair("ca")
ETCD_CA = Pair("etcd-ca")
SERVICE_ACCOUNT_KEY = layout.PKI / "service-accounts.key"


def authority(pair: Pair) -> None:
    """Make a certificate authority if it does not exist."""
    if not pair.exists():
        _make(pair, f"/CN=k8scr test cluster {pair.name}", _AUTHORITY, signer=None)


def signed(
    pair: Pair,
    user: str,
    groups: Sequence[str] = (),
    hosts: Sequence[str] = (),
    signer: Pair = CA,
) -> Pair:
    """Make a client certificate if it does not exist; with `hosts`, it is a server certificate too.

    Kubernetes reads the user from the subject's common name and the groups from its organizations.
    """
    if pair.exists():
        return pair
    extensions = _SIGNED.format(usages="clientAuth, serverAuth" if hosts else "clientAuth")
    if hosts:
        names = (f"{'IP' if host[0].isdigit() else 'DNS'}:{host}" for host in hosts)
        extensions += f"subjectAltName = {', '.join(names)}\n"
    subject = "".join(f"/O={_escaped(group)}" for group in groups) + f"/CN={_escaped(user)}"
    _make(pair, subject, extensions, signer)
    return pair


def service_account_key() -> None:
    """Make the key that signs the tokens of service accounts if it does not exist."""
    if not SERVICE_ACCOUNT_KEY.exists():
        _make_key(SERVICE_ACCOUNT_KEY)


def _escaped(text: str) -> str:
    """Escape a value for openssl's option -subj."""
    return text.replace("\\", "\\\\").replace("/", "\\/").replace("+", "\\+")


def _make(pair: Pair, subject: str, extensions: str, signer: Pair | None) -> None:
    _make_key(pair.key)
    with tempfile.TemporaryDirectory(dir=layout.PKI) as folder:
        # Do not depend on the machine's configuration of openssl.
        configuration = Path(folder) / "openssl.cnf"
        configuration.write_text("[req]\ndistinguished_name = dn\n[dn]\n", encoding="utf-8")
        request = Path(folder) / "request"
        extensions_file = Path(folder) / "extensions"
        extensions_file.write_text(extensions, encoding="utf-8")
        result = Path(folder) / "certificate"
        _openssl(
            *("req", "-new", "-utf8", "-config", str(configuration), "-subj", subject),
            *("-key", str(pair.key), "-out", str(request)),
        )
        signed_by = (
            ("-CA", str(signer.certificate), "-CAkey", str(signer.key)) if signer else ("-signkey", str(pair.key))
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-days", _DAYS, "-sha256", *signed_by),
            *("-set_serial", "0x" + _serial(), "-extfile", str(extensions_file), "-out", str(result)),
        )
        result.replace(pair.certificate)


def _make_key(path: Path) -> None:
    layout.PKI.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    # openssl makes private keys readable only by their owner.
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(temporary))
    temporary.replace(path)


def _serial() -> str:
    return _openssl("rand", "-hex", "16").strip()


def _openssl(*arguments: str) -> str:
    result = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise ClusterError(f"openssl {arguments[0]} failed: {result.stderr.strip()}")
    return result.stdout
