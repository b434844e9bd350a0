# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of connections, and hosts that no longer respond. By default, ssh waits for hours if packets are dropped."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

_OPTION = "ssh_extra_args"
_RETRIES = "reconnection_retries"
_KEEPALIVE = "-o ServerAliveInterval=15 -o ServerAliveCountMax=3"
_LOST_CONNECTION = 255
_NEVER_CONNECTED = (
    "ssh: connect to host",
    "Could not resolve hostname",
    "Permission denied",
    "Host key verification failed",
    "kex_exchange_identification:",
    "banner exchange:",
    "stdio forwarding failed",
)
_BECOME_REJECTED = re.compile(
    r"^((Incorrect|Missing) \S+ password|privilege output closed while waiting|"
    r"(Premature end of stream|Duplicate become password prompt encountered) waiting for become success)"
)
_BECOME_TIMEOUT = re.compile(
    r"(timeout|timed out)\b.*waiting for (privilege escalation|become success)", re.DOTALL | re.IGNORECASE
)


def is_lost(result: dict[str, Any]) -> bool:
    """Whether the result of a command is an error of ssh itself."""
    return bool(result.get("rc") == _LOST_CONNECTION)


def was_never_connected(message: str) -> bool:
    """Whether an error message of ssh says that the command was not sent. Messages for debugging say nothing."""
    lines = [line for line in message.splitlines() if not line.startswith("debug")]
    return any(reason in line for reason in _NEVER_CONNECTED for line in lines)


def is_become_rejected(message: str) -> bool:
    """Whether an error message of Ansible says that the password of another user is wrong or missing."""
    return bool(_BECOME_REJECTED.search(message))


def is_become_timeout(message: str) -> bool:
    """Whether an error message of Ansible says that another user did not get the command in time."""
    return bool(_BECOME_TIMEOUT.search(message))


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
def without_retries(connection: Any) -> Iterator[int]:
    """Disable the retries of SSH connections, and return their number.

    ssh reports the error of the last attempt, which does not say whether an earlier attempt started the command.
    """
    if connection.transport != "ssh":
        yield 0
        return
    retries: int = connection.get_option(_RETRIES)
    connection.set_option(_RETRIES, 0)
    try:
        yield retries
    finally:
        connection.set_option(_RETRIES, retries)


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
