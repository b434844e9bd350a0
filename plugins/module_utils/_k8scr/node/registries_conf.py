# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drop-in for ``registries.conf`` that Podman, CRI-O, Buildah and skopeo read (containers-registries.conf(5))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ..errors import InputError
from .checked_edit import KeyPath, UnparsableError, compare
from .managed_block import split_lines
from .mirror import ALL, Mirror
from .toml_format import parse
from .toml_text import dotted, quote, read_statements

DROP_IN = "zz-k8scr-core.conf"
"""Its name: of two files that describe a registry, what the last one in alphabetical order says counts alone."""
_HEADER = "# Written by k8scr.core, from what the files before it say and the mirror; changes here are lost."
_ENTRY = "registry"
_PLACE = ("prefix", "location", "mirror")
_NO_MIRROR = ("blocked", "mirror-by-digest-only")
"""Settings with which images are not pulled from a mirror by their tags."""


@dataclass(frozen=True)
class _Entry:
    """What administrators wrote about a registry, or a part of one.

    Attributes:
        file: The file it stands in.
        prefix: The prefix of the images that it is for.
        values: All its settings.
    """

    file: str
    prefix: str
    values: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings, without those that say where it is."""
        return {key: value for key, value in self.values.items() if key not in _PLACE}

    @property
    def mirrors(self) -> list[dict[str, Any]]:
        """Its mirrors."""
        return list(self.values.get("mirror") or [])

    def location(self, upstream: str) -> str:
        """Return where images of a registry are pulled from."""
        return str(self.values.get("location") or upstream)

    def is_for_subdomain(self, upstream: str) -> bool:
        """Whether it is for all subdomains of a domain, and the registry is one of them."""
        return self.prefix.startswith("*.") and upstream.endswith(self.prefix[1:])


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
    written = _entries(others)
    entries = {upstream: _entry_of(upstream, written) for upstream in upstreams}
    tables = [_described(upstream, mirror, entry) for upstream, entry in entries.items()]
    text = "\n".join(f"{line}\n" for line in (_HEADER, *("\n".join(_written(table)) for table in tables)))
    kept = {upstream: entry for upstream, entry in entries.items() if entry}
    if kept:
        _check(text, mirror, kept)
    return text


def shadows(upstreams: Sequence[str], others: Mapping[str, str]) -> list[str]:
    """Return warnings about entries that take precedence over the drop-in.

    Only the longest prefix counts for an image, and of two entries with the same prefix only that in the last file.

    Args:
        upstreams: The registries' hosts.
        others: The other files, in the order in which they are read.

    Raises:
        InputError: A file is not valid.
    """
    return [
        f"{entry.file} has an entry for {entry.prefix}, which takes precedence over the one for {upstream}: images that"
        " it matches are not pulled from the mirror. Delete that entry to pull them from there"
        for upstream in upstreams
        for entry in _entries(others).values()
        if entry.prefix.startswith(f"{upstream}/")
        or (entry.prefix == upstream and PurePath(entry.file).name > DROP_IN)
        or (entry.is_for_subdomain(upstream) and len(entry.prefix) >= len(upstream))
    ]


def _entries(others: Mapping[str, str]) -> dict[str, _Entry]:
    return {entry.prefix: entry for file, text in others.items() for entry in _entries_of(file, text)}


def _entries_of(file: str, text: str) -> list[_Entry]:
    if not any(statement.path[:1] == (_ENTRY,) for statement in read_statements(split_lines(text))):
        # Files with aliases and search orders alone are on every node, which may have no parser.
        return []
    try:
        tables = parse(text).get(_ENTRY)
    except UnparsableError as error:
        raise InputError(f"{file} is {error.message}", "Correct it") from error
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{file} has {_ENTRY} entries that are not tables", "Write each below [[registry]]")
    return [_Entry(file, str(table.get("prefix") or table.get("location") or ""), table) for table in tables]


def _entry_of(upstream: str, written: Mapping[str, _Entry]) -> _Entry | None:
    """Return the entry that counts for a registry without the drop-in: its own, or that with the longest wildcard."""
    wildcards = [entry for entry in written.values() if entry.is_for_subdomain(upstream)]
    entry = written.get(upstream) or max(wildcards, key=lambda entry: len(entry.prefix), default=None)
    for setting in _NO_MIRROR:
        if entry and entry.values.get(setting) is True:
            raise InputError(
                f"{entry.file} has {setting} = true for {entry.prefix}, with which images are not pulled from a mirror"
                " by their tags",
                f"Take that line out, or leave out the upstream {upstream}",
            )
    return entry


def _place(upstream: str, mirror: Mirror) -> dict[str, Any]:
    prefix = mirror.prefix(upstream)
    place: dict[str, Any] = {"location": f"{mirror.address}/{prefix}" if prefix else mirror.address}
    return {**place, "insecure": True} if mirror.scheme == "http" else place


def _described(upstream: str, mirror: Mirror, entry: _Entry | None) -> dict[str, Any]:
    mirrors = entry.mirrors if entry else []
    if not mirror.fallback:
        return {"prefix": upstream, **_place(upstream, mirror), "mirror": mirrors}
    return {
        "prefix": upstream,
        "location": entry.location(upstream) if entry else upstream,
        **(entry.settings if entry else {}),
        "mirror": [_place(upstream, mirror), *mirrors],
    }


def _check(text: str, mirror: Mirror, kept: Mapping[str, _Entry]) -> None:
    before = {
        upstream: {**entry.values, "prefix": upstream, "location": entry.location(upstream)}
        for upstream, entry in kept.items()
    }
    after = {table["prefix"]: table for table in parse(text)[_ENTRY]}
    ours: list[KeyPath] = [(upstream, "mirror", repr(_place(upstream, mirror))) for upstream in kept]
    if not mirror.fallback:
        # The mirror replaces the upstream, with all its settings but its mirrors.
        ours = [(upstream, key) for upstream in kept for key in (*before[upstream], "insecure") if key != "mirror"]
    compare(DROP_IN, before, {upstream: after[upstream] for upstream in kept}, ours)


def _written(table: Mapping[str, Any]) -> list[str]:
    lines = ["[[registry]]", *_settings(table)]
    for mirror in table["mirror"]:
        lines += ["[[registry.mirror]]", *_settings(mirror)]
    return lines


def _settings(table: Mapping[str, Any]) -> list[str]:
    return [f"{dotted((key,))} = {_value(key, value)}" for key, value in table.items() if key != "mirror"]


def _value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quote(value)
    raise InputError(
        f"the setting {key} of a registry in registries.conf is neither a string nor true or false",
        "Correct it, or leave out that upstream",
    )
