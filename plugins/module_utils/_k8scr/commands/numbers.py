# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bounds of the numeric options of all modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InputError

_BYTES = (1 << 63) - 1
# Ansible converts sizes such as 20M with floats, which are exact up to this number.
_SIZE = 1 << 52
# poll(2), with which sockets wait, takes milliseconds in 32 bits. A longer timeout would end early.
_SECONDS = ((1 << 31) - 1) // 1000

BOUNDS = {
    # Zero means no limit.
    "bandwidth": (0, _SIZE),
    "chunk_size": (0, _SIZE),
    "collect_timeout": (1, _SECONDS),
    # Each connection is an open file; processes usually have a limit of 1,024.
    "connections": (1, 1024),
    "keep_last": (1, 1_000_000),
    # Zero means no minimum. A larger rate would fail on fast networks too.
    "minimum_rate": (0, 1 << 30),
    "offset": (0, _BYTES),
    # A kubelet runs 110 Pods by default.
    "parallel": (1, 100),
    # Kubernetes supports 5,000 nodes.
    "parallel_nodes": (1, 5000),
    "progress_interval": (1, 86400),
    "registry_port": (1, 65535),
    "retry_timeout": (0, _SECONDS),
    "size": (0, _BYTES),
    "timeout": (1, _SECONDS),
    "wait_timeout": (0, _SECONDS),
}
"""The smallest and the largest value of each numeric option."""
TAG_COUNTS = (1, 100_000)
"""The smallest and the largest number of selected tags; a list of tags has at most as many names."""
VOLUME_SIZES = (1 << 20, _SIZE)
"""The smallest and the largest size of a volume in bytes."""


def read_number(options: Mapping[str, Any], name: str) -> int:
    """Return the value of a numeric option.

    Raises:
        InputError: The value is out of bounds.
    """
    return require_bounds(options[name], name, BOUNDS[name])


def require_bounds(value: int, name: str, bounds: tuple[int, int]) -> int:
    """Return a number that is in bounds.

    Raises:
        InputError: It is out of bounds.
    """
    smallest, largest = bounds
    if not smallest <= value <= largest:
        raise InputError(f"{name} is {value!s:.80}", f"The allowed range is {smallest} to {largest}")
    return value
