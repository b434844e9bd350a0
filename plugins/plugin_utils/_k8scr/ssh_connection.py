# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Detect that a host no longer responds. By default, ssh waits for hours if packets are dropped."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

_OPTION = "ssh_extra_args"
_KEEPALIVE = "-o ServerAliveInterval=15 -o ServerAliveCountMax=3"
_LOST_CONNECTION = 255
_NEVER_CONNECTED = (
    "ssh: connect to host",
    "Could not resolve hostname",
    "Permission denied",
    "Host key verification failed",
)


def is_lost(result: dict[str, Any]) -> bool:
    """Whether the result of a command is an error of ssh itself."""
    return bool(result.get("rc") == _LOST_CONNECTION)


def was_never_connected(message: str) -> bool:
    """Whether an error message of ssh says that the command was not sent."""
    return any(reason in message for reason in _NEVER_CONNECTED)


@contextlib.contextmanager
def detects_dead_host(connection: Any) -> Iterator[None]:
    """End new SSH connections after 45 seconds without a response; options of the user have precedence."""
    if connection.transport != "ssh":
        yield
        return
    previous = connection.get_option(_OPTION)
    connection.set_option(_OPTION, f"{previous or ''} {_KEEPALIVE}".strip())
    try:
        yield
    finally:
        connection.set_option(_OPTION, previous)


@contextlib.contextmanager
def ends_if_dead(connection: Any, seconds: float) -> Iterator[None]:
    """End the shared SSH connection if the block takes longer; an earlier task may have opened it without keepalive."""
    if connection.transport != "ssh":
        yield
        return
    timer = threading.Timer(seconds, _end_shared_connection, (connection,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end_shared_connection(connection: Any) -> None:
    # Without a shared connection there is nothing to end, and the keepalive of the connection itself ends it.
    with contextlib.suppress(Exception):
        program = connection.get_option("ssh_executable")
        command = connection._build_command(program, "ssh", "-O", "exit", connection.host)
        subprocess.run(  # pylint: disable=ansible-bad-function
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10
        )
