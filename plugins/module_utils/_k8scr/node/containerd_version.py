# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The version of containerd, and the settings in ``hosts.toml`` that it supports."""

from __future__ import annotations

import re
from dataclasses import replace

from ..errors import SourceError
from ..oci.decimal import parse_decimal
from .host import HostCommands, run_program
from .mirror import Mirror

_VERSION = re.compile(r"containerd \S+ v?(([0-9]+)\.([0-9]+)\.([0-9]+)\S*)")
_DIAL_TIMEOUT = (2, 0, 7)
"""The first version with ``dial_timeout``. Before 2.1.0, it requests ``http`` hosts with it by HTTPS first."""


def print_version(commands: HostCommands, program: str) -> str:
    """Return the output of ``containerd --version``; empty if containerd cannot print it."""
    try:
        status, output, _errors = run_program(commands, [program, "--version"])
    except SourceError:
        return ""
    return "" if status else output


def supported_mirror(mirror: Mirror, version: str) -> tuple[Mirror, list[str]]:
    """Return a mirror without the settings that a version of containerd does not support; also return warnings.

    Args:
        version: The output of ``containerd --version``; empty if it is unknown.
    """
    match = _VERSION.match(version)
    numbers = tuple(parse_decimal(number) or 0 for number in match.groups()[1:]) if match else ()
    if not mirror.dial_timeout or numbers >= _DIAL_TIMEOUT:
        return mirror, []
    minimum = ".".join(map(str, _DIAL_TIMEOUT))
    if match:
        reason, advice = f"containerd {match[1]} does not support it", f"Upgrade containerd to {minimum} or newer"
    else:
        reason, advice = "the version of containerd is unknown", "Set the path of containerd's program"
    warning = (
        f"dial_timeout is not set, because {reason}: each request of a pull waits 30 seconds for an unreachable mirror."
        f" {advice}, or set dial_timeout to an empty string"
    )
    return replace(mirror, dial_timeout=""), [warning]
