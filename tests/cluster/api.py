# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the API server and other health endpoints; each call is one short connection."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any

from . import layout
from .certificates import CA, Pair

TIMEOUT = 3


def get(path: str) -> Any:
    """What the API server says at `path`, decoded; OSError says that it does not."""
    monitor = Pair("monitor")
    context = ssl.create_default_context(cafile=str(CA.certificate))
    context.load_cert_chain(str(monitor.certificate), str(monitor.key))
    connection = http.client.HTTPSConnection("127.0.0.1", layout.API_PORT, timeout=TIMEOUT, context=context)
    body = _ask(connection, path)
    return json.loads(body) if body.startswith(b"{") else body.decode("utf-8", "replace")


def check(host: str, port: int, path: str = "/healthz", context: ssl.SSLContext | None = None) -> str | None:
    """None if the endpoint answers 200, else why not, in few words."""
    connection = (
        http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
        if context
        else http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    )
    try:
        _ask(connection, path)
    except OSError as error:
        return str(error)
    return None


def _ask(connection: http.client.HTTPConnection, path: str) -> bytes:
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"no answer: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        text = body.decode("utf-8", "replace").strip().splitlines()
        raise OSError(f"HTTP {response.status} {text[-1] if text else ''}".strip())
    return body
