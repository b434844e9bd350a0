# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the API server and to health endpoints, each on its own connection."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any

from . import layout
from .certificates import CA, Pair

TIMEOUT = 3


def get(path: str) -> Any:
    """Return the decoded response of the API server for `path`.

    Raises:
        OSError: The request failed, or the status is not 200.
    """
    monitor = Pair("monitor")
    context = ssl.create_default_context(cafile=str(CA.certificate))
    context.load_cert_chain(str(monitor.certificate), str(monitor.key))
    connection = http.client.HTTPSConnection("127.0.0.1", layout.API_PORT, timeout=TIMEOUT, context=context)
    body = _request(connection, path)
    return json.loads(body) if body.startswith(b"{") else body.decode("utf-8", "replace")


def check(host: str, port: int, path: str = "/healthz", context: ssl.SSLContext | None = None) -> str | None:
    """Return None if the endpoint responds with 200, otherwise the reason."""
    connection = (
        http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
        if context
        else http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    )
    try:
        _request(connection, path)
    except OSError as error:
        return str(error)
    return None


def _request(connection: http.client.HTTPConnection, path: str) -> bytes:
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"no valid response: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        text = body.decode("utf-8", "replace").strip().splitlines()
        raise OSError(f"HTTP {response.status} {text[-1] if text else ''}".strip())
    return body
