# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the API server's audit log, for tests that ask what was really requested."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from . import layout
from .errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

QUIET = 0.25
"""Seconds without a new line after which what was asked before is taken to be in the log."""


def position() -> int:
    """Where the log ends now; events after it are what a test did since."""
    try:
        return layout.AUDIT_LOG.stat().st_size
    except FileNotFoundError:
        return 0


def events(since: int = 0) -> Iterator[dict[str, Any]]:
    """All finished requests after a position, oldest first.

    Everybody's but those of the cluster's own parts, whatever they asked for: a client that was
    led astray is seen here, wherever it was led to.
    """
    try:
        with layout.AUDIT_LOG.open("rb") as stream:
            stream.seek(since)
            for line in stream:
                if not line.endswith(b"\n"):
                    return  # Still being written.
                event: dict[str, Any] = json.loads(line)
                # A proxied request is told of twice: when the answer starts, and at its end.
                if event["stage"] in ("ResponseComplete", "Panic"):
                    yield event
    except FileNotFoundError:
        return


def proxy_events(since: int = 0) -> Iterator[dict[str, Any]]:
    """The finished requests on pods/proxy after a position, oldest first."""
    for event in events(since):
        reference = event.get("objectRef", {})
        if reference.get("resource") == "pods" and reference.get("subresource") == "proxy":
            yield event


def settle(timeout: float = 30) -> None:
    """Wait until the log is quiet: an answer may reach its client before its line is written.

    Raises:
        ClusterError: It is not quiet in time, so that lines may still be missing.
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
