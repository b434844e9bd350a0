# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of ``k8scr_push`` and ``k8scr_pull``, with the entries of the option ``images``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..engine.settings import DockerSettings
from ..errors import InputError
from ..oci.platform import Platform, parse_platform
from ..oci.reference import Reference, is_repository, parse_reference
from ..registry.cluster import RegistrySettings
from ..registry.upstreams import UpstreamSettings
from ..stores.docker_daemon import TRANSPORT as DOCKER_DAEMON
from .registry_settings import READ_ONLY_PORT, REGISTRY_ARGUMENT_SPEC, registry_settings
from .upstream_settings import UPSTREAMS_ARGUMENT_SPEC, upstream_settings

DOCKER_ARGUMENT_SPEC: dict[str, Any] = {
    "docker_host": {"type": "str"},
    "docker_context": {"type": "str"},
    "docker_cert_path": {"type": "path"},
}
"""Argument spec of the fragment ``k8scr.core.docker_daemon``."""
_SHARED_SPEC: dict[str, Any] = {
    "platforms": {"type": "list", "elements": "str"},
    "referrers": {"type": "bool", "default": False},
}
_IMAGES_SPEC: dict[str, Any] = {**REGISTRY_ARGUMENT_SPEC, "fail_fast": {"type": "bool", "default": False}}
"""Argument spec of the fragments ``k8scr.core.registry`` with ``.pod`` and ``.images``."""
PUSH_ENTRY_SPEC: dict[str, Any] = {
    "source": {"type": "str", "required": True},
    "name": {"type": "str"},
    **_SHARED_SPEC,
}
PULL_ENTRY_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "dest": {"type": "str"},
    **_SHARED_SPEC,
}
PUSH_ARGUMENT_SPEC: dict[str, Any] = {
    "images": {"type": "list", "elements": "raw", "required": True, "options": PUSH_ENTRY_SPEC},
    "mount_from": {"type": "list", "elements": "str", "default": []},
    "compression": {"type": "str", "choices": ["auto", "none", "gzip", "zstd"], "default": "auto"},
    "lock": {"type": "path"},
    "locked": {"type": "bool", "default": False},
    "tmp_dest": {"type": "path"},
    "require_space": {"type": "bool", "default": False},
    "upstreams": UPSTREAMS_ARGUMENT_SPEC,
    **DOCKER_ARGUMENT_SPEC,
    **_IMAGES_SPEC,
}
PUSH_RULES: dict[str, Any] = {"required_if": [("locked", True, ["lock"])]}
PULL_ARGUMENT_SPEC: dict[str, Any] = {
    "images": {"type": "list", "elements": "raw", "required": True, "options": PULL_ENTRY_SPEC},
    **DOCKER_ARGUMENT_SPEC,
    **_IMAGES_SPEC,
    "registry_port": {"type": "int", "default": READ_ONLY_PORT},
}
_Entry = TypeVar("_Entry")


@dataclass(frozen=True)
class PushEntry:
    """Images to push.

    Attributes:
        source: The location of the images.
        name: The image's name in the registry; None to keep its name at the source.
        platforms: The platforms to push; empty for all.
        referrers: Whether to push the images' referrers too.
    """

    source: str
    name: str | None = None
    platforms: tuple[Platform, ...] = ()
    referrers: bool = False

    @property
    def upstream(self) -> Reference:
        """The name in an upstream registry, for a source of ``docker://``."""
        return parse_reference(self.source.partition("://")[2])


@dataclass(frozen=True)
class PullEntry:
    """An image to pull.

    Attributes:
        dest: The location to write to.
        platforms: The platforms to pull; empty for all.
        referrers: Whether to pull the image's referrers too.
    """

    reference: Reference
    dest: str
    platforms: tuple[Platform, ...] = ()
    referrers: bool = False


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
    """The options of ``k8scr_push``; ``upstreams`` has the settings of upstream registries, by their hosts."""

    registry: RegistrySettings
    images: tuple[PushEntry, ...]
    qualify: bool
    fail_fast: bool
    docker: DockerSettings
    mount_from: tuple[str, ...]
    compression: str
    lock: Path | None
    locked: bool
    require_space: bool
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
            _repositories(options["mount_from"]),
            options["compression"],
            Path(options["lock"]) if options["lock"] else None,
            options["locked"],
            options["require_space"],
            upstream_settings(options["upstreams"]),
        )


def docker_settings(options: Mapping[str, Any]) -> DockerSettings:
    """Return the engine of Docker or Podman; only ``k8scr_push`` has the option ``tmp_dest``."""
    host, context, cert_path = (options[name] for name in DOCKER_ARGUMENT_SPEC)
    return DockerSettings(host, context, cert_path, options.get("tmp_dest"))


def read_push_entries(images: Iterable[Any]) -> tuple[PushEntry, ...]:
    """Return the entries of ``k8scr_push``; a string is a source.

    Raises:
        InputError: An entry is invalid.
    """

    def read(entry: Mapping[str, Any]) -> PushEntry:
        return PushEntry(entry["source"], entry["name"], _platforms(entry), entry["referrers"])

    return tuple(_entries(images, "push", "source", PUSH_ENTRY_SPEC, read))


def read_pull_entries(images: Iterable[Any]) -> tuple[PullEntry, ...]:
    """Return the entries of ``k8scr_pull``; a string is a name.

    Raises:
        InputError: An entry is invalid.
    """

    def read(entry: Mapping[str, Any]) -> PullEntry:
        dest = entry["dest"] or f"{DOCKER_DAEMON}:"
        return PullEntry(parse_reference(entry["name"]), dest, _platforms(entry), entry["referrers"])

    return tuple(_entries(images, "pull", "name", PULL_ENTRY_SPEC, read))


def _repositories(mount_from: Iterable[str]) -> tuple[str, ...]:
    for repository in mount_from:
        if not is_repository(repository):
            raise InputError(
                f"mount_from has {repository!r:.80}, which is not a repository",
                "Write a repository of the cluster's registry without a tag, such as team/api",
            )
    return tuple(mount_from)


def _entries(
    images: Iterable[Any],
    action: str,
    main_key: str,
    spec: Mapping[str, Any],
    read: Callable[[Mapping[str, Any]], _Entry],
) -> Iterable[_Entry]:
    advice = f"Write a {main_key}, or a dictionary with {', '.join(spec)}"
    for number, image in enumerate(images):
        try:
            yield read(_validated({main_key: image} if isinstance(image, str) else image, spec))
        except InputError as error:
            raise InputError(
                f"images[{number}] ({image!r:.100}) is not an image to {action}: {error.message}",
                error.advice or advice,
            ) from error


def _validated(entry: Any, spec: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise InputError("it is neither a string nor a dictionary")
    unknown = [str(key) for key in entry if key not in spec]
    if unknown:
        raise InputError(f"unknown keys: {', '.join(unknown)}; known keys: {', '.join(spec)}")
    # A key without a value is like a missing key, also for the validator's check of required ones.
    found = ArgumentSpecValidator(spec).validate({key: value for key, value in entry.items() if value is not None})
    if found.error_messages:
        raise InputError("; ".join(found.error_messages))
    return dict(found.validated_parameters)


def _platforms(entry: Mapping[str, Any]) -> tuple[Platform, ...]:
    return tuple(map(parse_platform, entry["platforms"] or ()))
