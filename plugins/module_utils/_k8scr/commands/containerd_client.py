# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of modules that use containerd's client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CONTAINERD_CLIENT_ARGUMENT_SPEC: dict[str, Any] = {
    "program": {"type": "str"},
    "socket": {"type": "path", "default": "/run/containerd/containerd.sock"},
    "containerd_namespace": {"type": "str", "default": "k8s.io"},
    "containerd": {"type": "str", "default": "containerd"},
    "config": {"type": "path", "default": "/etc/containerd/config.toml"},
}
"""The option ``program``, and the argument spec of the fragment ``k8scr.core.containerd``."""


def containerd_client(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the client with the options of every command."""
    program = options["program"] or "ctr"
    return (program, "--address", options["socket"], "--namespace", options["containerd_namespace"])
