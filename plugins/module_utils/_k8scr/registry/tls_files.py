# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates for registries where the tools of the field keep them (containers-certs.d(5))."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files.vault import refuse_vaulted_files

_FOLDERS = ("/etc/containers/certs.d", "/etc/docker/certs.d")
_USERS_FOLDER = ".config/containers/certs.d"


@dataclass(frozen=True)
class TlsFiles:
    """The PEM files that TLS with a registry takes.

    Attributes:
        authorities: Certificate authorities to trust beside the system's.
        certificates: Our certificates, each with its key.
    """

    authorities: tuple[str, ...] = ()
    certificates: tuple[tuple[str, str], ...] = ()

    def load_authorities(self, context: ssl.SSLContext) -> None:
        """Have a TLS context trust the authorities.

        Raises:
            InputError: A file cannot be used.
        """
        refuse_vaulted_files(self.authorities)
        for path in self.authorities:
            try:
                context.load_verify_locations(path)
            except FileNotFoundError:
                raise InputError(f"the CA file {path} does not exist", "Check ca_cert in upstreams") from None
            except OSError:  # which ssl's own errors are
                raise InputError(f"the CA file {path} cannot be read as PEM certificates", "Check what it is") from None

    def load_certificates(self, context: ssl.SSLContext) -> None:
        """Have a TLS context show our certificates to who asks for one.

        Raises:
            InputError: A file cannot be used.
        """
        for certificate, key in self.certificates:
            refuse_vaulted_files((certificate, key))
            try:
                # With a password that opens nothing, for without one a key that has one is asked for at the terminal.
                context.load_cert_chain(certificate, key, password="")
            except FileNotFoundError:
                raise InputError(
                    f"the client certificate {certificate} or its key {key} does not exist", "Check client_cert"
                ) from None
            except OSError:
                raise InputError(
                    f"the client certificate {certificate} and its key {key} cannot be used",
                    "Both must be PEM files, the key that of the certificate and without a password",
                ) from None


def find_tls_files(host: str, environment: Mapping[str, str] | None = None) -> TlsFiles:
    """Return what this machine has for a registry: that of the first of the folders which has one for it.

    The folders are ``~/.config/containers/certs.d``, ``/etc/containers/certs.d`` and ``/etc/docker/certs.d``.

    Args:
        host: The registry as references name it, as in ``docker.io`` or ``registry.example.com:5000``.
        environment: The environment variables; those of the process by default.

    Raises:
        InputError: A certificate there lacks its key, or the other way round.
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
        # As for those tools, a folder that this user may not look into is none.
        return None


def _read(folder: Path, names: list[str]) -> TlsFiles:
    for name in names:
        ending = {".cert": ".key", ".key": ".cert"}.get(Path(name).suffix)
        other = str(Path(name).with_suffix(ending)) if ending else name
        if other not in names:
            raise InputError(
                f"{folder / name} is there without {other}",
                "A client certificate is NAME.cert with NAME.key; what ends in .crt is a certificate authority",
            )
    return TlsFiles(
        tuple(str(folder / name) for name in names if name.endswith(".crt")),
        tuple(
            (str(folder / name), str((folder / name).with_suffix(".key"))) for name in names if name.endswith(".cert")
        ),
    )
