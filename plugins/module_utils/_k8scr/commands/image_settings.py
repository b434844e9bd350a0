# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of ``k8scr_push`` and ``k8scr_pull``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.settings import DockerSettings
from ..registry.cluster import RegistrySettings
from ..registry.upstreams import UpstreamSettings
from .image_entries import (
    PULL_ENTRY_SPEC,
    PUSH_ENTRY_SPEC,
    PullEntry,
    PushEntry,
    read_pull_entries,
    read_push_entries,
)
from .registry_settings import (
    DOCKER_ARGUMENT_SPEC,
    READ_ONLY_PORT,
    REGISTRY_ARGUMENT_SPEC,
    docker_settings,
    registry_settings,
)
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
PULL_ARGUMENT_SPEC: dict[str, Any] = {
    "images": {"type": "list", "elements": "raw", "required": True, "options": PULL_ENTRY_SPEC},
    **DOCKER_ARGUMENT_SPEC,
    **REGISTRY_ARGUMENT_SPEC,
    "registry_port": {"type": "int", "default": READ_ONLY_PORT},
}


@dataclass(frozen=True)
class PullSettings:
    """The options of ``k8scr_pull``.

    Attributes:
        qualify: Whether repositories begin with the hosts of the images' names.
        fail_fast: Whether the first failure ends the task.
        docker: The engine of Docker or Podman.
    """

    registry: RegistrySettings
    images: tuple[PullEntry, ...]
    qualify: bool
    fail_fast: bool
    docker: DockerSettings

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> PullSettings:
        """Read the module's parameters.

        Raises:
            InputError: An option is invalid.
        """
        images = read_pull_entries(options["images"])
        return cls(
            registry_settings(options), images, options["qualify"], options["fail_fast"], docker_settings(options)
        )


@dataclass(frozen=True)
class PushSettings:
    """The options of ``k8scr_push``; see :class:`PullSettings` for those that both modules have.

    Attributes:
        mount_from: Repositories that may have blobs of the images.
        lock: The lock file, if any.
        locked: Whether images must match the lock file.
        upstreams: The upstream registries with settings, by their hosts.
    """

    registry: RegistrySettings
    images: tuple[PushEntry, ...]
    qualify: bool
    fail_fast: bool
    docker: DockerSettings
    mount_from: tuple[str, ...]
    compression: str
    lock: Path | None
    locked: bool
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
            docker_settings(options),
            tuple(options["mount_from"]),
            options["compression"],
            Path(options["lock"]) if options["lock"] else None,
            options["locked"],
            upstream_settings(options["upstreams"]),
        )
