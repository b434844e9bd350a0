# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read contexts with static credentials without the official client.

The import of the official client takes longer than the check whether an image exists. It is used only for credential
plugins, login providers and service accounts.
"""

from __future__ import annotations

import atexit
import base64
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .impersonation import USER_FIELDS
from .kubeconfig import Context

_CREDENTIALS = ("token", "tokenFile", "username", "password")
_CERTIFICATES = ("client-certificate", "client-certificate-data", "client-key", "client-key-data")
_STATIC_FIELDS = frozenset((*_CREDENTIALS, *_CERTIFICATES, *USER_FIELDS))


@dataclass(frozen=True)
class StaticConfiguration:
    """The attributes of the official client's ``Configuration`` that a connection needs."""

    host: str
    ssl_ca_cert: str | None
    cert_file: str | None
    key_file: str | None
    verify_ssl: bool
    tls_server_name: str | None
    proxy: str | None
    api_key: Mapping[str, str] = field(repr=False)
    refresh_api_key_hook: None = None


def read_static(context: Context) -> StaticConfiguration | None:
    """Read a context; None if a plugin or provider must get the credentials first.

    Raises:
        ValueError: Data is not base64.
        OSError: A file cannot be read, or a temporary file cannot be written.
    """
    cluster, user = context.cluster, context.user
    if not _STATIC_FIELDS.issuperset(user):
        return None
    authorization = _authorization(user)
    return StaticConfiguration(
        host=str(cluster["server"]),
        ssl_ca_cert=_file(cluster, "certificate-authority"),
        cert_file=_file(user, "client-certificate"),
        key_file=_file(user, "client-key"),
        # A quoted "false" must not disable verification.
        verify_ssl=cluster.get("insecure-skip-tls-verify") is not True,
        tls_server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
        api_key={"authorization": authorization} if authorization else {},
    )


def _authorization(user: Mapping[str, Any]) -> str | None:
    token = user.get("token")
    if not token and "tokenFile" in user:
        with open(user["tokenFile"], encoding="utf-8") as file:
            token = file.read()
    if token:
        return f"Bearer {token}"
    if "username" in user and "password" in user:
        pair = f"{user['username']}:{user['password']}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"
    return None


def _file(section: Mapping[str, Any], key: str) -> str | None:
    """Return the path of a file, or of a temporary file with the inline data."""
    data = section.get(f"{key}-data")
    path: str | None = _written(base64.b64decode(data)) if data else section.get(key)
    return path


def _written(content: bytes) -> str:
    """Return a temporary file with the content: Python's ssl module reads keys only from files."""
    if content not in _files:
        descriptor, path = tempfile.mkstemp(prefix="k8scr-")
        _files[content] = Path(path)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    return str(_files[content])


def forget_files() -> None:
    """Delete the temporary files."""
    while _files:
        _files.popitem()[1].unlink(missing_ok=True)


_files: dict[bytes, Path] = {}
atexit.register(forget_files)
