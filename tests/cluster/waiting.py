# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for conditions and for servers on this machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
    """Wait until a condition holds.

    Args:
        condition: Returns whether the condition holds.
        what: The condition, for the message.
        timeout: Seconds to wait.

    Raises:
        AssertionError: The condition does not hold in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"timed out after {timeout:g} s: {what}"
        time.sleep(0.02)


def once(condition: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Call a function in the background once a condition holds."""

    def wait_and_act() -> None:
        wait_until(condition, "the transfer is under way")
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def wait_for_port(port: int, what: str, host: str = "127.0.0.1") -> None:
    """Wait until a server accepts connections.

    Args:
        port: The server's port.
        what: The server, for the message.
        host: The server's address.

    Raises:
        AssertionError: The server does not accept connections in time.
    """
    wait_until(lambda: accepts_connections(port, host), f"{what} accepts connections")


def accepts_connections(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a server accepts connections."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """Return an unused port of this machine."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
