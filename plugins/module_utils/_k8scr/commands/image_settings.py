# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of ``k8scr_push`` and ``k8scr_pull``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..engine.settings import DockerSettings
from ..errors import InputError
from ..oci.reference import is_repository
from ..registry.cluster import RegistrySettings
from .image_entries import PULL_ENTRY_SPEC, PullEntry, read_pull_entries
from .progress_options import PROGRESS_ARGUMENT_SPEC
from .registry_settings import READ_ONLY_PORT, REGISTRY_ARGUMENT_SPEC, registry_settings
from .source_settings import DOCKER_ARGUMENT_SPEC, SOURCES_ARGUMENT_SPEC, SourceSettings, docker_settings

_IMAGES_SPEC: dict[str, Any] = {
    **REGISTRY_ARGUMENT_SPEC,
    "fail_fast": {"type": "bool", "default": False},
    **PROGRESS_ARGUMENT_SPEC,
}
"""Argument spec of the fragments ``k8scr.core.registry`` with ``.pod`` and ``.images``."""
PUSH_ARGUMENT_SPEC: dict[str, Any] = {
    "mount_from": {"type": "list", "elements": "str", "default": []},
    "compression": {"type": "str", "choices": ["auto", "none", "gzip", "zstd"], "default": "auto"},
    "require_space": {"type": "bool", "default": False},
    **SOURCES_ARGUMENT_SPEC,
    **_IMAGES_SPEC,
}
PULL_ARGUMENT_SPEC: dict[str, Any] = {
    "images": {"type": "list", "elements": "raw", "required": True, "options": PULL_ENTRY_SPEC},
    **DOCKER_ARGUMENT_SPEC,
    **_IMAGES_SPEC,
    "registry_port": {"type": "int", "default": READ_ONLY_PORT},
}


@dataclass(frozen=True)
class PullSettings:
    """The options of ``k8scr_pull``."""

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
    """The options of ``k8scr_push``."""

    registry: RegistrySettings
    sources: SourceSettings
    qualify: bool
    fail_fast: bool
    mount_from: tuple[str, ...]
    compression: str
    require_space: bool

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> PushSettings:
        """Read the module's parameters.

        Raises:
            InputError: An option is invalid.
        """
        return cls(
            registry_settings(options),
            SourceSettings.from_options(options),
            options["qualify"],
            options["fail_fast"],
            _repositories(options["mount_from"]),
            options["compression"],
            options["require_space"],
        )


def _repositories(mount_from: Iterable[str]) -> tuple[str, ...]:
    for repository in mount_from:
        if not is_repository(repository):
            raise InputError(
                f"mount_from has {repository!r:.80}, which is not a repository",
                "Write a repository of the cluster's registry without a tag, such as team/api",
            )
    return tuple(mount_from)
