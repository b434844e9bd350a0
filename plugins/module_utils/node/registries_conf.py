# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drop-in for ``registries.conf`` that Podman, CRI-O, Buildah and skopeo read (containers-registries.conf(5))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import InputError
from .mirror import ALL, Mirror
from .toml_text import Statement, quote, read_statements

DROP_IN = "zz-k8scr-core.conf"
"""Its name: of two files that describe a registry, what the last one in alphabetical order says counts alone."""
_HEADER = "# Written by k8scr.core, from what the files before it say and the mirror; changes here are lost."
_ENTRY, _MIRROR = ("registry",), ("registry", "mirror")


@dataclass(frozen=True)
class _Entry:
    """What administrators wrote about a registry.

    Attributes:
        file: The file it stands in.
        settings: The lines of its settings, without those that say where it is.
        location: Where it is.
        mirrors: The lines of its mirrors.
    """

    file: str
    settings: tuple[str, ...]
    location: str
    mirrors: tuple[str, ...]


def drop_in(upstreams: Sequence[str], mirror: Mirror, others: Mapping[str, str]) -> str:
    """Return the drop-in, in which the mirror is asked first, and all else is as it was.

    Args:
        upstreams: The registries' hosts.
        mirror: The mirror.
        others: The other files, in the order in which they are read.

    Raises:
        InputError: What administrators wrote does not go together with it.
    """
    if ALL in upstreams:
        raise InputError("registries.conf cannot name all registries at once", "Name the upstreams instead of '*'")
    written: dict[str, _Entry] = {}
    for file, text in others.items():
        written.update(_entries(file, text))
    parts = [_HEADER]
    for upstream in upstreams:
        parts += ["", *_describe(upstream, mirror, written.get(upstream))]
    return "".join(f"{line}\n" for line in parts)


def _describe(upstream: str, mirror: Mirror, entry: _Entry | None) -> list[str]:
    prefix = mirror.prefix(upstream)
    place = [f"location = {quote(f'{mirror.address}/{prefix}' if prefix else mirror.address)}"]
    place += ["insecure = true"] if mirror.scheme == "http" else []
    if not mirror.fallback:
        lines = ["[[registry]]", f"prefix = {quote(upstream)}", *place]
        return [*lines, *(entry.mirrors if entry else ())]
    lines = ["[[registry]]", f"prefix = {quote(upstream)}"]
    lines.append(f"location = {quote(entry.location if entry else upstream)}")
    lines += entry.settings if entry else ()
    return [*lines, "[[registry.mirror]]", *place, *(entry.mirrors if entry else ())]


def _entries(file: str, text: str) -> dict[str, _Entry]:
    lines = text.splitlines()
    groups: list[list[Statement]] = []
    for statement in read_statements(lines):
        if statement.header and statement.table == _ENTRY:
            groups.append([])
        elif groups and statement.table in (_ENTRY, _MIRROR):
            groups[-1].append(statement)
    return dict(_entry(file, lines, group) for group in groups)


def _entry(file: str, lines: list[str], group: list[Statement]) -> tuple[str, _Entry]:
    strings: dict[str, str] = {}
    settings: list[str] = []
    mirrors: list[str] = []
    for statement in group:
        text = lines[statement.start : statement.end]
        if statement.table == _MIRROR:
            mirrors += text
        elif statement.key in (("prefix",), ("location",)):
            strings[statement.key[0]] = statement.string or ""
        else:
            _refuse(file, statement, text)
            settings += text
    location = strings.get("location", strings.get("prefix", ""))
    return strings.get("prefix", location), _Entry(file, tuple(settings), location, tuple(mirrors))


def _refuse(file: str, statement: Statement, text: list[str]) -> None:
    if statement.key in (("blocked",), ("mirror-by-digest-only",)) and "true" in text[0]:
        raise InputError(
            f"{file} has {statement.key[0]} = true, with which images are not pulled from a mirror by their tags",
            "Take that line out, or leave out this upstream",
        )
