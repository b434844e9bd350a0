# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run commands in containers through the API server (``pods/exec`` with the WebSocket protocol ``v4.channel.k8s.io``).

The connection has the TLS settings, the proxy and the credentials of the adapter. ``kubernetes.stream`` opens its own
connections, which ignore them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ..errors import ApiServerError, ClusterError, UnreadableResponseError
from ..http.network_errors import NETWORK_ERRORS
from ..oci.decimal import parse_decimal
from .api_server import CONNECT_TIMEOUT, ApiServerAdapter
from .failures import translate, unauthorized

_PROTOCOL = "v4.channel.k8s.io"
_INPUT, _OUTPUT, _ERRORS, _STATUS = range(4)
"""The channels, in the first byte of each message (Kubernetes, ``k8s.io/apimachinery/pkg/util/remotecommand``)."""
_FRAME = 32 << 10
"""Bytes of input in one message."""
_MAXIMUM_ERRORS = 64 << 10


@dataclass(frozen=True)
class Container:
    """A running container of a Pod."""

    namespace: str
    pod: str
    name: str


@dataclass(frozen=True)
class Ended:
    """A command that has ended, with its exit status and its output."""

    status: int
    output: bytes
    errors: str


def run_in_container(
    adapter: ApiServerAdapter,
    container: Container,
    command: Sequence[str],
    data: bytes = b"",
    *,
    timeout: float,
    limit: int,
) -> Ended:
    """Run a command in a container.

    Args:
        data: The input. The protocol cannot end the input, so the command must know its size.
        timeout: Seconds without output after which the command fails.
        limit: The maximum size of the output, in bytes.

    Raises:
        ApiServerError: The API server denies the request, or the container does not run.
        ClusterError: The API server cannot be reached, or the command does not end.
    """
    from websocket import ABNF, WebSocket, WebSocketBadStatusException, WebSocketException

    where = f"Pod {container.namespace}/{container.pod}"
    sock, headers = adapter.dial(CONNECT_TIMEOUT)
    sock.settimeout(timeout)
    client: Any = WebSocket()
    try:
        client.connect(
            _url(adapter.base_url, container, command),
            socket=sock,
            header=[f"{name}: {value}" for name, value in headers],
            subprotocols=[_PROTOCOL],
            suppress_origin=True,
            redirect_limit=0,
            timeout=timeout,
        )
        for start in range(0, len(data), _FRAME):
            client.send(bytes([_INPUT]) + data[start : start + _FRAME], ABNF.OPCODE_BINARY)
        return _receive(client, where, limit)
    except WebSocketBadStatusException as error:
        raise _denied(error, where) from None
    except WebSocketException as error:
        raise ClusterError(f"the command in {where} failed: {str(error) or type(error).__name__}") from error
    except NETWORK_ERRORS as error:
        raise translate(error, adapter.server_name, where) from error
    finally:
        client.shutdown()
        sock.close()


def _url(base: str, container: Container, command: Sequence[str]) -> str:
    query = [("container", container.name), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in command]
    parts = urlsplit(base)
    scheme = "wss" if parts.scheme == "https" else "ws"
    path = f"/api/v1/namespaces/{quote(container.namespace, safe='')}/pods/{quote(container.pod, safe='')}/exec"
    return f"{scheme}://{parts.netloc}{parts.path}{path}?{urlencode(query)}"


def _receive(client: Any, where: str, limit: int) -> Ended:
    output: list[bytes] = []
    errors = bytearray()
    size = 0
    while True:
        message = client.recv()
        if isinstance(message, str):
            message = message.encode()
        channel, content = message[:1], message[1:]
        if channel == bytes([_STATUS]):
            return Ended(_exit_status(content, where), b"".join(output), errors.decode("utf-8", "replace"))
        if not message:
            raise ClusterError(f"the command in {where} was interrupted: the connection closed early", "Run again")
        if channel == bytes([_OUTPUT]):
            output.append(content)
            size += len(content)
            if size > limit:
                raise UnreadableResponseError(f"the output of the command in {where} exceeds {limit} bytes")
        elif channel == bytes([_ERRORS]):
            errors += content[: max(_MAXIMUM_ERRORS - len(errors), 0)]


def _exit_status(content: bytes, where: str) -> int:
    """Return the exit status in the last message of a command, an object of the kind Status."""
    try:
        status = json.loads(content)
        if status["status"] == "Success":
            return 0
        if status.get("reason") == "NonZeroExitCode":
            causes = status["details"]["causes"]
            number = parse_decimal(next(cause["message"] for cause in causes if cause["reason"] == "ExitCode"))
            if number is not None:
                return number
        reason = str(status.get("message"))
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration):
        reason = "its status is not a Kubernetes object"
    raise ClusterError(f"the command in {where} failed: {reason:.500}")


def _denied(error: Any, where: str) -> ApiServerError:
    try:
        reason = str(json.loads(error.resp_body or b"")["message"])
    except (ValueError, TypeError, KeyError):
        reason = str(error.status_code)
    if error.status_code == 401:
        return unauthorized(reason)
    return ApiServerError(
        f"the API server rejected a command in {where}: {reason:.500}",
        "Allow get and create on pods/exec in this namespace" if error.status_code == 403 else None,
        error.status_code,
    )
