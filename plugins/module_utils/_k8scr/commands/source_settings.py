# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of modules that read images from any source (fragments ``k8scr.core.sources`` and ``.docker_daemon``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.settings import DockerSettings
from ..registry.upstreams import UpstreamSettings
from .image_entries import SOURCE_ENTRY_SPEC, SourceEntry, read_source_entries
from .numbers import read_number
from .upstream_settings import UPSTREAMS_ARGUMENT_SPEC, upstream_settings

DOCKER_ARGUMENT_SPEC: dict[str, Any] = {
    "docker_host": {"type": "str"},
    "docker_context": {"type": "str"},
    "docker_cert_path": {"type": "path"},
}
"""Argument spec of the fragment ``k8scr.core.docker_daemon``."""
SOURCES_ARGUMENT_SPEC: dict[str, Any] = {
    "images": {"type": "list", "elements": "raw", "required": True, "options": SOURCE_ENTRY_SPEC},
    "lock": {"type": "path"},
    "locked": {"type": "bool", "default": False},
    "tmp_dest": {"type": "path"},
    "upstreams": UPSTREAMS_ARGUMENT_SPEC,
    **DOCKER_ARGUMENT_SPEC,
}
"""Argument spec of the fragments ``k8scr.core.sources`` and ``k8scr.core.docker_daemon``."""
SOURCES_RULES: dict[str, Any] = {"required_if": [("locked", True, ["lock"])]}


@dataclass(frozen=True)
class SourceSettings:
    """The images that a task reads, and how to read them.

    Attributes:
        lock: The lock file; ``None`` to use none.
        locked: Whether the lock file is enforced.
        upstreams: The settings of upstream registries, by their hosts.
        connections: The number of connections to each registry, and of exports of an engine at once.
    """

    images: tuple[SourceEntry, ...]
    docker: DockerSettings
    lock: Path | None
    locked: bool
    upstreams: Mapping[str, UpstreamSettings]
    connections: int

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> SourceSettings:
        """Read the module's parameters.

        Raises:
            InputError: An option is invalid.
        """
        return cls(
            read_source_entries(options["images"]),
            docker_settings(options),
            Path(options["lock"]) if options["lock"] else None,
            options["locked"],
            upstream_settings(options["upstreams"]),
            read_number(options, "connections"),
        )


def docker_settings(options: Mapping[str, Any]) -> DockerSettings:
    """Return the engine of Docker or Podman; ``k8scr_pull`` does not have the option ``tmp_dest``."""
    host, context, cert_path = (options[name] for name in DOCKER_ARGUMENT_SPEC)
    return DockerSettings(host, context, cert_path, options.get("tmp_dest"))
