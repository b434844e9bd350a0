# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entries of the option ``images``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean

from ..errors import InputError
from ..oci.platform import Platform, parse_platform
from ..oci.reference import CREDENTIALS_ADVICE, Reference, parse_reference, parse_repository
from ..redaction import passwords_in, without_passwords
from ..registry.upstreams import TRANSPORT as UPSTREAM
from ..stores.docker_daemon import TRANSPORT as DOCKER_DAEMON
from ..transfer.job import ReferrersMode
from .tag_settings import TAGS_ARGUMENT_SPEC, read_selection

if TYPE_CHECKING:
    from ..oci.tag_selection import TagSelection

_SHARED_SPEC: dict[str, Any] = {
    "platforms": {"type": "list", "elements": "str"},
    "referrers": {"type": "raw", "default": "auto"},
}
SOURCE_ENTRY_SPEC: dict[str, Any] = {
    "source": {"type": "str", "required": True},
    "name": {"type": "str"},
    **_SHARED_SPEC,
    "tags": {"type": "dict", "options": TAGS_ARGUMENT_SPEC},
}
PULL_ENTRY_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "dest": {"type": "str"},
    **_SHARED_SPEC,
}
_Entry = TypeVar("_Entry")


@dataclass(frozen=True)
class SourceEntry:
    """Images of one source.

    Attributes:
        source: The location of the images.
        name: The image's name at the destination; ``None`` to keep its name at the source.
        platforms: The platforms to copy; empty for all.
        referrers: Whether to copy the images' referrers.
        tags: Selects tags of the repository ``source``; ``name`` is then a repository too. ``None`` for one image.
    """

    source: str
    name: str | None = None
    platforms: tuple[Platform, ...] = ()
    referrers: ReferrersMode = ReferrersMode.AUTO
    tags: TagSelection | None = None

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
        referrers: Whether to pull the image's referrers.
    """

    reference: Reference
    dest: str
    platforms: tuple[Platform, ...] = ()
    referrers: ReferrersMode = ReferrersMode.AUTO


def read_source_entries(images: Iterable[Any]) -> tuple[SourceEntry, ...]:
    """Return the entries of a module that reads images from sources; a string is a source.

    Raises:
        InputError: An entry is invalid.
    """
    return tuple(read_source_entry(image, f"images[{number}]") for number, image in enumerate(images))


def read_source_entry(image: Any, where: str) -> SourceEntry:
    """Return one entry; ``where`` names it in messages.

    Raises:
        InputError: The entry is invalid.
    """

    def read(entry: Mapping[str, Any]) -> SourceEntry:
        source, name = entry["source"], entry["name"]
        tags = None if entry["tags"] is None else read_selection(entry["tags"])
        if tags:
            _require_repositories(source, name)
        return SourceEntry(source, name, _platforms(entry), _referrers(entry), tags)

    return _read_entry(image, where, "source", SOURCE_ENTRY_SPEC, read)


def read_pull_entries(images: Iterable[Any]) -> tuple[PullEntry, ...]:
    """Return the entries of ``k8scr_pull``; a string is a name.

    Raises:
        InputError: An entry is invalid.
    """

    def read(entry: Mapping[str, Any]) -> PullEntry:
        dest = entry["dest"] or f"{DOCKER_DAEMON}:"
        return PullEntry(parse_reference(entry["name"]), dest, _platforms(entry), _referrers(entry))

    return tuple(
        _read_entry(image, f"images[{number}]", "name", PULL_ENTRY_SPEC, read) for number, image in enumerate(images)
    )


def _read_entry(
    image: Any, where: str, main_key: str, spec: Mapping[str, Any], read: Callable[[Mapping[str, Any]], _Entry]
) -> _Entry:
    entry = {main_key: image} if isinstance(image, str) else image
    if any(passwords_in(entry, of_images=True)):
        items = entry.items() if isinstance(entry, dict) else ()
        keys = [str(key) for key, value in items if any(passwords_in(value, of_images=True))]
        raise InputError(f"{where} has credentials{' in ' if keys else ''}{', '.join(keys)}", CREDENTIALS_ADVICE)
    try:
        return read(_validated(entry, spec))
    except InputError as error:
        raise InputError(
            f"{where} ({without_passwords(image)!r:.100}) cannot be used: {error.message}",
            error.advice or f"Write a {main_key}, or a dictionary with {', '.join(spec)}",
        ) from error


def _validated(entry: Any, spec: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise InputError("it is neither a string nor a dictionary")
    _reject_unknown_keys(entry, spec)
    for name, option in spec.items():
        if "options" in option and isinstance(entry.get(name), Mapping):
            _reject_unknown_keys(entry[name], option["options"], f" in {name}")
    # A key without a value is like a missing key, also for the validator's check of required ones.
    found = ArgumentSpecValidator(spec).validate({key: value for key, value in entry.items() if value is not None})
    if found.error_messages:
        raise InputError("; ".join(found.error_messages))
    return dict(found.validated_parameters)


def _reject_unknown_keys(entry: Mapping[Any, Any], known: Mapping[str, Any], where: str = "") -> None:
    unknown = [str(key) for key in entry if key not in known]
    if unknown:
        raise InputError(f"unknown keys{where}: {', '.join(unknown)}; known keys: {', '.join(known)}")


def _require_repositories(source: str, name: str | None) -> None:
    if not source.startswith(UPSTREAM):
        advice = f"Write {UPSTREAM}REGISTRY/REPOSITORY as the source, or remove tags"
        raise InputError("tags can only be selected in the repository of a registry", advice)
    parse_repository(source[len(UPSTREAM) :])
    if name is not None:
        parse_repository(name)


def _platforms(entry: Mapping[str, Any]) -> tuple[Platform, ...]:
    return tuple(map(parse_platform, entry["platforms"] or ()))


def _referrers(entry: Mapping[str, Any]) -> ReferrersMode:
    value = entry["referrers"]
    if value == ReferrersMode.AUTO.value:
        return ReferrersMode.AUTO
    try:
        return ReferrersMode.ALWAYS if boolean(value) else ReferrersMode.NEVER
    except TypeError as error:
        raise InputError(
            f"referrers is {value!r:.50}, which is not auto, true or false", "Omit referrers for the default, auto"
        ) from error
