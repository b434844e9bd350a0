# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read contexts with static credentials or a credential plugin, without the official client.

The import of the official client takes longer than the check whether an image exists. It is used only for login
providers and service accounts.
"""

from __future__ import annotations

import atexit
import base64
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..files.file_access import read_small
from .credential_plugin import Credential, run_plugin
from .impersonation import USER_FIELDS
from .kubeconfig import Context

_TOKENS = ("token", "tokenFile")
_CREDENTIALS = (*_TOKENS, "username", "password")
_CERTIFICATES = ("client-certificate", "client-certificate-data", "client-key", "client-key-data")
_STATIC_FIELDS = frozenset((*_CREDENTIALS, *_CERTIFICATES, *USER_FIELDS))
_EARLY_RENEWAL = 300.0
"""Seconds before the end of a token in which a plugin gets the next one."""


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
    api_key: dict[str, str] = field(repr=False)
    refresh_api_key_hook: Callable[[Any], None] | None = None


def read_static(context: Context) -> StaticConfiguration | None:
    """Read a context; None if a plugin or provider must get the credentials first.

    Raises:
        ValueError: Data is not base64.
        OSError: A file cannot be read, or a temporary file cannot be written.
    """
    return _read(context.cluster, context.user) if _STATIC_FIELDS.issuperset(context.user) else None


def read_plugin(context: Context) -> StaticConfiguration | None:
    """Read a context whose user has a credential plugin, and run the plugin; None if the user has none.

    A token in the kubeconfig has precedence over the plugin.

    Raises:
        ClusterError: The plugin failed, see :func:`.credential_plugin.run_plugin`.
        ValueError: Data is not base64.
        OSError: A file cannot be read, or a temporary file cannot be written.
    """
    cluster, plugin = context.cluster, context.user.get("exec")
    if not isinstance(plugin, Mapping):
        return None
    static = {name: value for name, value in context.user.items() if name in (*_TOKENS, *_CERTIFICATES) and value}
    if any(name in static for name in _TOKENS):
        return _read(cluster, static)
    credential = run_plugin(plugin, cluster)
    configuration, expires_at = _read(cluster, static), credential.expires_at

    def renew(_configuration: Any) -> None:
        nonlocal expires_at
        if expires_at is not None and time.time() > expires_at - _EARLY_RENEWAL:
            renewed = run_plugin(plugin, cluster)
            expires_at = renewed.expires_at
            configuration.api_key.update(_token_of(renewed))

    configuration.api_key.update(_token_of(credential))
    if credential.certificate and credential.key:
        certificate, key = _written(credential.certificate.encode()), _written(credential.key.encode())
        configuration = replace(configuration, cert_file=certificate, key_file=key)
    return replace(configuration, refresh_api_key_hook=renew)


def _token_of(credential: Credential) -> dict[str, str]:
    return {"authorization": f"Bearer {credential.token}"} if credential.token else {}


def _read(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> StaticConfiguration:
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
        token = read_small(user["tokenFile"]).decode("utf-8")
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
