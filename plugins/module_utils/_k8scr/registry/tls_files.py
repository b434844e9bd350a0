# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates for registries from the folders of other container tools (containers-certs.d(5))."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files.vault import reject_vaulted_files
from ..http.tls import client_context, load_client_certificate, require_regular

_FOLDERS = ("/etc/containers/certs.d", "/etc/docker/certs.d")
_USERS_FOLDER = ".config/containers/certs.d"


@dataclass(frozen=True)
class TlsFiles:
    """The PEM files for TLS with a registry. Loading a missing or invalid file raises InputError.

    Attributes:
        authorities: Certificate authorities to trust in addition to the system's.
        certificates: Client certificates, each with its key.
    """

    authorities: tuple[str, ...] = ()
    certificates: tuple[tuple[str, str], ...] = ()

    def context(self, verify: bool) -> ssl.SSLContext:
        """Return a TLS context that trusts the authorities; ``verify`` is whether to check certificates."""
        reject_vaulted_files(self.authorities)
        context = client_context(None, verify)
        for path in self.authorities:
            try:
                require_regular(path)
                context.load_verify_locations(path)
            except FileNotFoundError:
                raise InputError(f"the CA file {path} does not exist", "Check ca_cert in upstreams") from None
            except OSError:  # the exceptions of ssl are OSErrors
                raise InputError(f"the CA file {path} cannot be read as PEM certificates", "Check the file") from None
        return context

    def load_certificates(self, context: ssl.SSLContext) -> None:
        """Add the client certificates to a TLS context."""
        for certificate, key in self.certificates:
            reject_vaulted_files((certificate, key))
            try:
                load_client_certificate(context, certificate, key)
            except FileNotFoundError:
                raise InputError(
                    f"the client certificate {certificate} or its key {key} does not exist", "Check client_cert"
                ) from None
            except OSError:
                raise InputError(
                    f"the client certificate {certificate} and its key {key} cannot be used",
                    "Both must be PEM files, and the key must belong to the certificate and have no password",
                ) from None


def find_tls_files(host: str, environment: Mapping[str, str] | None = None) -> TlsFiles:
    """Return this machine's files for a registry, from the first folder that has any.

    The folders are ``~/.config/containers/certs.d``, ``/etc/containers/certs.d`` and ``/etc/docker/certs.d``.

    Args:
        host: The registry as in image references, such as ``docker.io`` or ``registry.example.com:5000``.
        environment: The environment variables; by default, those of the process.

    Raises:
        InputError: A certificate has no key, or a key no certificate.
    """
    home = (os.environ if environment is None else environment).get("HOME") or os.path.expanduser("~")
    for folder in (Path(home, _USERS_FOLDER), *_FOLDERS):
        names = _names(Path(folder, host))
        if names is not None:
            return _read(Path(folder, host), names)
    return TlsFiles()


def _names(folder: Path) -> list[str] | None:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        # As in those tools, a folder that the user may not read is ignored.
        return None


def _read(folder: Path, names: list[str]) -> TlsFiles:
    for name in names:
        ending = {".cert": ".key", ".key": ".cert"}.get(Path(name).suffix)
        other = str(Path(name).with_suffix(ending)) if ending else name
        if other not in names:
            raise InputError(
                f"{folder / name} requires {other}, which does not exist",
                "A client certificate is NAME.cert with NAME.key; a certificate authority is NAME.crt",
            )
    return TlsFiles(
        tuple(str(folder / name) for name in names if name.endswith(".crt")),
        tuple(
            (str(folder / name), str((folder / name).with_suffix(".key"))) for name in names if name.endswith(".cert")
        ),
    )
