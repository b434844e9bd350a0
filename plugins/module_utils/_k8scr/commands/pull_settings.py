# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of ``k8scr_pull``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engine.settings import DockerSettings
from ..registry.cluster import RegistrySettings
from .image_entries import PULL_ENTRY_SPEC, PullEntry, read_pull_entries
from .registry_settings import (
    DOCKER_ARGUMENT_SPEC,
    READ_ONLY_PORT,
    REGISTRY_ARGUMENT_SPEC,
    docker_settings,
    registry_settings,
)

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
        registry: The cluster's registry.
        images: The images.
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
        return cls(
            registry_settings(options),
            read_pull_entries(options["images"]),
            options["qualify"],
            options["fail_fast"],
            docker_settings(options),
        )
