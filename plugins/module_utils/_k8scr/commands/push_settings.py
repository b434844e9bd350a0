# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of ``k8scr_push``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.settings import DockerSettings
from ..registry.cluster import RegistrySettings
from ..registry.upstreams import UpstreamSettings
from .image_entries import PUSH_ENTRY_SPEC, PushEntry, read_push_entries
from .registry_settings import DOCKER_ARGUMENT_SPEC, REGISTRY_ARGUMENT_SPEC, docker_settings, registry_settings
from .upstream_settings import UPSTREAMS_ARGUMENT_SPEC, upstream_settings

PUSH_ARGUMENT_SPEC: dict[str, Any] = {
    "images": {"type": "list", "elements": "raw", "required": True, "options": PUSH_ENTRY_SPEC},
    "mount_from": {"type": "list", "elements": "str", "default": []},
    "compression": {"type": "str", "choices": ["auto", "none", "gzip", "zstd"], "default": "auto"},
    "lock": {"type": "path"},
    "locked": {"type": "bool", "default": False},
    "tmp_dest": {"type": "path"},
    "upstreams": UPSTREAMS_ARGUMENT_SPEC,
    **DOCKER_ARGUMENT_SPEC,
    **REGISTRY_ARGUMENT_SPEC,
}


@dataclass(frozen=True)
class PushSettings:
    """The options of ``k8scr_push``.

    Attributes:
        registry: The cluster's registry.
        images: The images.
        qualify: Whether repositories begin with the hosts of the images' names.
        fail_fast: Whether the first failure ends the task.
        mount_from: Repositories that may have blobs of the images.
        compression: The name of the compression.
        lock: The lock file, if any.
        locked: Whether images must match the lock file.
        docker: The engine of Docker or Podman.
        upstreams: The upstream registries with settings, by their hosts.
    """

    registry: RegistrySettings
    images: tuple[PushEntry, ...]
    qualify: bool
    fail_fast: bool
    mount_from: tuple[str, ...]
    compression: str
    lock: Path | None
    locked: bool
    docker: DockerSettings
    upstreams: Mapping[str, UpstreamSettings]

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> PushSettings:
        """Read the module's parameters.

        Raises:
            InputError: An option is invalid.
        """
        return cls(
            registry_settings(options),
            read_push_entries(options["images"]),
            options["qualify"],
            options["fail_fast"],
            tuple(options["mount_from"]),
            options["compression"],
            Path(options["lock"]) if options["lock"] else None,
            options["locked"],
            docker_settings(options),
            upstream_settings(options["upstreams"]),
        )
