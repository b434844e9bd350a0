# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the API server's audit log, for tests that check the requests of a task."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from . import layout
from .errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

QUIET = 0.25
"""Seconds without a new line after which the log is taken to be complete."""


def position() -> int:
    """Return the end of the log, after which the events of a test start."""
    try:
        return layout.AUDIT_LOG.stat().st_size
    except FileNotFoundError:
        return 0


def events(since: int = 0) -> Iterator[dict[str, Any]]:
    """Yield all finished requests after a position, oldest first.

    The audit policy leaves out only the cluster's own components. All requests of other users are included, so a
    request outside the proxy path is visible here.
    """
    try:
        with layout.AUDIT_LOG.open("rb") as stream:
            stream.seek(since)
            for line in stream:
                if not line.endswith(b"\n"):
                    return  # The API server is still writing this line.
                event: dict[str, Any] = json.loads(line)
                # A proxied request has two events: when its response starts, and when it is complete.
                if event["stage"] in ("ResponseComplete", "Panic"):
                    yield event
    except FileNotFoundError:
        return


def proxy_events(since: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the finished requests on pods/proxy after a position, oldest first."""
    for event in events(since):
        reference = event.get("objectRef", {})
        if reference.get("resource") == "pods" and reference.get("subresource") == "proxy":
            yield event


def settle(timeout: float = 30) -> None:
    """Wait until the log stops growing: a response may reach its client before its event is written.

    Raises:
        ClusterError: The log still grows after `timeout` seconds, so events may be missing.
    """
    deadline = time.monotonic() + timeout
    size = position()
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < QUIET:
        if time.monotonic() > deadline:
            raise ClusterError(f"the audit log still grows after {timeout:g} s: another client uses the cluster")
        time.sleep(0.02)
        if position() != size:
            size, quiet_since = position(), time.monotonic()
