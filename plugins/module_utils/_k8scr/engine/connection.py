# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to an engine: through a unix socket, through TCP with or without TLS, and through ssh."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import EngineError, InputError
from ..http.slow_peer import MINIMUM_RATE
from ..http.streaming_connection import limited
from ..http.tls import client_context, load_client_certificate
from ..redaction import HIDDEN
from .context import EngineEndpoint, EngineTls

try:
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout
except ImportError:  # reported by the module; the class below must still be importable
    if not TYPE_CHECKING:
        HTTPAdapter = object

if TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT = 15.0
"""Seconds to open a connection."""
_PLAIN_PORT, _TLS_PORT = 2375, 2376
"""Docker's ports (IANA, "docker" and "docker-s")."""
_SSH_ENDS_WITHIN = 5.0
_KNOWN = "Write unix:///SOCKET, tcp://HOST:PORT or ssh://[USER@]HOST[:PORT]"


class EngineAdapter(HTTPAdapter):
    """Sends requests to one engine, regardless of the host in their URL.

    Args:
        idle_timeout: Seconds without data in either direction after which a request fails.

    Raises:
        InputError: The endpoint is not valid.
        EngineError: Its certificates cannot be used.
    """

    def __init__(self, endpoint: EngineEndpoint, idle_timeout: float) -> None:
        super().__init__()
        self._idle_timeout = idle_timeout
        self._ssh: list[subprocess.Popen[bytes]] = []
        self._pool = self._open_pool(endpoint)

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None, *_args: Any, **_kwargs: Any
    ) -> requests.Response:
        """Send one request. Of ``timeout``, only the part for reading is used.

        Raises:
            urllib3.exceptions.HTTPError, OSError: The connection failed; :meth:`ssh_error` may have the reason.
        """
        read = timeout[1] if isinstance(timeout, tuple) else timeout or self._idle_timeout
        options: dict[str, Any] = {
            "body": request.body,
            "retries": False,
            "redirect": False,
            "timeout": Timeout(connect=CONNECT_TIMEOUT, read=read),
            "preload_content": False,
            "decode_content": False,
            "enforce_content_length": True,
            "chunked": request.body is not None,
        }
        method, headers = request.method or "GET", request.headers
        raw = self._pool.request_encode_url(method, request.path_url, headers=headers, **options)
        return self.build_response(request, raw)

    def ssh_error(self) -> str:
        """Return the last line of ssh's error output; empty without ssh or if ssh is still running."""
        if not self._ssh or not self._ssh[-1].stderr:
            return ""
        try:
            self._ssh[-1].wait(_SSH_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            return ""
        lines = self._ssh[-1].stderr.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    def close(self) -> None:
        """Close the connections and end the ssh processes."""
        super().close()
        self._pool.close()
        while self._ssh:
            process = self._ssh.pop()
            try:
                # ssh exits by itself, because its input has ended.
                process.communicate(timeout=_SSH_ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def _open_pool(self, endpoint: EngineEndpoint) -> Any:
        try:
            parts = urlsplit(endpoint.host)
            port = parts.port
        except ValueError:
            raise _no_address(endpoint.host) from None
        if port == 0:
            raise _no_address(endpoint.host)
        if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
            return self._socket_pool(lambda: _connect_unix(unquote(parts.path)))
        if parts.scheme == "ssh" and parts.hostname and not parts.password:
            command = ssh_command(parts)
            return self._socket_pool(lambda: self._connect_ssh(command))
        if parts.scheme == "tcp" and parts.hostname and "@" not in parts.netloc:
            if endpoint.tls:
                context = _tls_context(endpoint.tls)
                return self._limited(HTTPSConnectionPool(parts.hostname, port or _TLS_PORT, ssl_context=context))
            return self._limited(HTTPConnectionPool(parts.hostname, port or _PLAIN_PORT))
        raise _no_address(endpoint.host)

    def _socket_pool(self, connect: Callable[[], socket.socket]) -> Any:
        pool = HTTPConnectionPool("localhost")
        base: Any = pool.ConnectionCls

        class SocketConnection(base):
            def _new_conn(self) -> socket.socket:
                return connect()

        pool.ConnectionCls = SocketConnection
        return self._limited(pool)

    def _limited(self, pool: Any) -> Any:
        """Return the pool, with limits for slow peers in all its connections."""
        pool.ConnectionCls = limited(pool.ConnectionCls, self._idle_timeout, MINIMUM_RATE)
        return pool

    def _connect_ssh(self, command: list[str]) -> socket.socket:
        local, remote = socket.socketpair()
        with remote:
            try:
                # ssh runs as long as the connection; the module's run_command would wait for its end.
                process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                    command, stdin=remote.fileno(), stdout=remote.fileno(), stderr=subprocess.PIPE
                )
            except OSError as error:
                local.close()
                raise EngineError(f"ssh cannot be started: {error.strerror}", "Install OpenSSH's client") from error
        self._ssh.append(process)
        return local


def ssh_command(parts: SplitResult) -> list[str]:
    """Return the command that Docker's client runs for an ``ssh://`` address (docker/cli, "commandconn").

    The path of the address, if any, is the engine's socket on the remote host.
    """
    command = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_TIMEOUT:.0f}", "-T"]
    if parts.username:
        command += ["-l", unquote(parts.username)]
    if parts.port:
        command += ["-p", str(parts.port)]
    command += ["--", parts.hostname or "", "docker"]
    if parts.path.strip("/"):
        command += ["--host", f"unix://{parts.path}"]
    return [*command, "system", "dial-stdio"]


def _no_address(host: str) -> InputError:
    # A user may have written a password there.
    shown = f"{HIDDEN}@{host.rpartition('@')[2]}" if "@" in host else host
    return InputError(f"{shown!r:.200} is not the address of an engine", _KNOWN)


def _connect_unix(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_TIMEOUT)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _tls_context(files: EngineTls) -> ssl.SSLContext:
    try:
        context = client_context(files.ca, files.verify)
        if files.cert:
            load_client_certificate(context, files.cert, files.key)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        folder = next((path.parent for path in (files.cert, files.ca) if path), "")
        raise EngineError(
            f"the certificates in {folder} cannot be used for TLS with the engine: {reason or error}",
            "They are ca.pem, cert.pem and key.pem, not encrypted; check docker_cert_path",
        ) from error
    return context
