# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of the engine of Docker or Podman."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.settings import DockerSettings

DOCKER_ARGUMENT_SPEC: dict[str, Any] = {
    "docker_host": {"type": "str"},
    "docker_context": {"type": "str"},
    "docker_cert_path": {"type": "path"},
}
"""Argument spec of the fragment ``k8scr.core.docker_daemon``."""


def docker_settings(options: Mapping[str, Any]) -> DockerSettings:
    """Return the engine of Docker or Podman; only ``k8scr_push`` has the option ``tmp_dest``."""
    host, context, cert_path = (options[name] for name in DOCKER_ARGUMENT_SPEC)
    return DockerSettings(host, context, cert_path, options.get("tmp_dest"))
