# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TLS contexts of all clients. Callers explain the errors of the ssl module, which are OSErrors."""

from __future__ import annotations

import errno
import os
import ssl
import stat
from pathlib import Path

try:
    import urllib3
except ImportError:  # the module reports missing libraries
    pass


def client_context(ca_file: str | os.PathLike[str] | None, verify: bool) -> ssl.SSLContext:
    """Return a TLS context.

    Args:
        ca_file: PEM file of the trusted certificate authorities; None for the system's.
        verify: Whether to check the server's certificate.

    Raises:
        OSError: The file does not exist, or is not a PEM file of certificates.
    """
    require_regular(ca_file)
    context = ssl.create_default_context(cafile=ca_file)
    # Accept CAs without the extensions that a strict verifier requires, as kubectl and container tools do. The chain,
    # names and dates are still checked.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not hasattr(urllib3, "BaseHTTPResponse"):
        # urllib3 before version 2 does not pass an IP address to the context, so it compares the name itself.
        context.check_hostname = False
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def load_client_certificate(
    context: ssl.SSLContext, certificate: str | os.PathLike[str], key: str | os.PathLike[str] | None
) -> None:
    """Add a client certificate to a TLS context.

    Args:
        key: PEM file of its key; None if the certificate's file contains it.

    Raises:
        OSError: A file does not exist or is not PEM, the key is encrypted, or they are not a pair.
    """
    require_regular(certificate, key)
    # With an empty password an encrypted key fails; without one OpenSSL would prompt at the terminal.
    context.load_cert_chain(certificate, key, password="")


def require_regular(*paths: str | os.PathLike[str] | None) -> None:
    """Raise an error for a pipe or a device: OpenSSL could wait for its content forever.

    Raises:
        OSError: A file does not exist, or is not a regular file.
    """
    for path in paths:
        if path and not stat.S_ISREG(Path(path).stat().st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
