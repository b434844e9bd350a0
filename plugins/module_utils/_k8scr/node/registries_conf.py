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
from .checked_edit import KeyPath, UnparsableError, check_entries
from .managed_block import split_lines
from .mirror import ALL_REGISTRIES, Mirror
from .toml_parser import parse
from .toml_statements import dotted_key, quote, read_statements

DROP_IN = "zz-k8scr-core.conf"
"""The file name. The last file in alphabetical order with an entry for a registry takes precedence."""
_HEADER = "# Written by k8scr.core, from what the files before it say and the mirror; changes here are lost."
"""The first line. Existing files have it, so another text would change every node after an upgrade."""
_ENTRY = "registry"
_LOCATION_KEYS = ("prefix", "location", "mirror")
_NO_MIRROR = ("blocked", "mirror-by-digest-only")
"""Settings that exclude pulls by tag from a mirror."""


@dataclass(frozen=True)
class _Entry:
    """An entry of administrators for images with a prefix."""

    file: str
    prefix: str
    values: dict[str, Any]

    def location(self, upstream: str) -> str:
        return str(self.values.get("location") or upstream)

    def is_for_subdomain(self, upstream: str) -> bool:
        """Return whether the entry is a wildcard for subdomains, and the registry is one of them."""
        return self.prefix.startswith("*.") and upstream.endswith(self.prefix[1:])


def drop_in_text(upstreams: Sequence[str], mirror: Mirror, others: Mapping[str, str]) -> str:
    """Return the drop-in: the mirror comes first, and the settings of the other files keep their values.

    Args:
        others: The texts of the other files by path, in the order in which they are read.

    Raises:
        InputError: Entries of administrators conflict with the mirror.
    """
    if ALL_REGISTRIES in upstreams:
        raise InputError("registries.conf does not support the upstream '*'", "List the upstreams instead of '*'")
    existing = _entries(others)
    entries = {upstream: _effective_entry(upstream, existing) for upstream in upstreams}
    tables = [_table(upstream, mirror, entry) for upstream, entry in entries.items()]
    _reject_conflicting_locations(tables)
    text = "\n".join(f"{line}\n" for line in (_HEADER, *("\n".join(_table_lines(table)) for table in tables)))
    kept = {upstream: entry for upstream, entry in entries.items() if entry.values}
    if kept:
        _check_settings(text, mirror, kept)
    return text


def precedence_warnings(upstreams: Sequence[str], others: Mapping[str, str]) -> list[str]:
    """Return warnings about entries that take precedence over the drop-in.

    The entry with the longest prefix applies to an image; of entries with the same prefix, the one in the last file.
    ``others`` has the other files in the order in which they are read.

    Raises:
        InputError: A file is not valid.
    """
    return [
        f"{entry.file} has an entry for {entry.prefix}, which takes precedence over the one for {upstream}: images"
        " with that prefix are not pulled from the mirror. Delete that entry to pull them from the mirror"
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
        # Every node has files with aliases and search orders only, and may have no parser.
        return []
    try:
        tables = parse(text).get(_ENTRY)
    except UnparsableError as error:
        raise InputError(f"{file} is {error.message}", "Correct the file") from error
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{file} has {_ENTRY} entries that are not tables", "Write each entry below [[registry]]")
    # An empty list of mirrors is the same as none.
    settings = [{key: value for key, value in table.items() if value != []} for table in tables]
    return [_Entry(file, str(each.get("prefix") or each.get("location") or ""), each) for each in settings]


def _effective_entry(upstream: str, existing: Mapping[str, _Entry]) -> _Entry:
    """Return a registry's entry in the other files: its own, the longest wildcard, or one without settings."""
    wildcards = [entry for entry in existing.values() if entry.is_for_subdomain(upstream)]
    entry = existing.get(upstream) or max(wildcards, key=lambda entry: len(entry.prefix), default=_Entry("", "", {}))
    for setting in _NO_MIRROR:
        if entry.values.get(setting) is True:
            raise InputError(
                f"{entry.file} has {setting} = true for {entry.prefix}, which excludes pulls by tag from a mirror",
                f"Delete that line, or remove {upstream} from upstreams",
            )
    return entry


def _mirror_location(upstream: str, mirror: Mirror) -> dict[str, Any]:
    prefix = mirror.repository_prefix(upstream)
    location: dict[str, Any] = {"location": f"{mirror.address}/{prefix}" if prefix else mirror.address}
    return {**location, "insecure": True} if mirror.scheme == "http" else location


def _table(upstream: str, mirror: Mirror, entry: _Entry) -> dict[str, Any]:
    mirrors = entry.values.get("mirror") or []
    if not mirror.fallback:
        return {"prefix": upstream, **_mirror_location(upstream, mirror), "mirror": mirrors}
    settings = {key: value for key, value in entry.values.items() if key not in _LOCATION_KEYS}
    return {
        "prefix": upstream,
        "location": entry.location(upstream),
        **settings,
        "mirror": [_mirror_location(upstream, mirror), *mirrors],
    }


def _reject_conflicting_locations(tables: Sequence[Mapping[str, Any]]) -> None:
    """Reject what Podman rejects: entries of one file with the same location, of which some are insecure."""
    found: dict[str, Mapping[str, Any]] = {}
    for table in tables:
        other = found.setdefault(table["location"], table)
        if bool(table.get("insecure")) != bool(other.get("insecure")):
            raise InputError(
                f"the entries for {other['prefix']} and {table['prefix']} in registries.conf or its drop-ins have the"
                f" location {table['location']} with different values of insecure, which one file cannot have",
                "Set insecure to the same value in both, or remove one of the registries from upstreams",
            )


def _check_settings(text: str, mirror: Mirror, kept: Mapping[str, _Entry]) -> None:
    """Check that the drop-in has the settings of the entries that it overrides."""
    before = {
        upstream: {**entry.values, "prefix": upstream, "location": entry.location(upstream)}
        for upstream, entry in kept.items()
    }
    after = {table["prefix"]: table for table in parse(text)[_ENTRY]}
    managed: list[KeyPath] = [(upstream, "mirror", repr(_mirror_location(upstream, mirror))) for upstream in kept]
    if not mirror.fallback:
        # The mirror replaces the upstream and all its settings except its mirrors.
        managed = [(upstream, key) for upstream in kept for key in (*before[upstream], "insecure") if key != "mirror"]
    check_entries(DROP_IN, before, {upstream: after[upstream] for upstream in kept}, managed)


def _table_lines(table: Mapping[str, Any]) -> list[str]:
    lines = ["[[registry]]", *_settings(table)]
    for mirror in table["mirror"]:
        lines += ["[[registry.mirror]]", *_settings(mirror)]
    return lines


def _settings(table: Mapping[str, Any]) -> list[str]:
    return [f"{dotted_key((key,))} = {_value(key, value)}" for key, value in table.items() if key != "mirror"]


def _value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quote(value)
    raise InputError(
        f"the setting {key} of a registry in registries.conf is neither a string nor true or false",
        "Correct it, or remove the registry from upstreams",
    )
