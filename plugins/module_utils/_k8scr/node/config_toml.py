# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""containerd's own configuration: where it looks for ``hosts.toml`` files, and what unpacks Kubernetes' images."""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from .managed_block import Marked, split_lines, taken_back, with_block
from .toml_text import Statement, dotted, quote, read_statements

_REGISTRY = {
    1: ("plugins", "io.containerd.grpc.v1.cri", "registry"),
    2: ("plugins", "io.containerd.cri.v1.images", "registry"),
}
"""The table of registries in containerd 1 (configuration of version 2) and 2 (of version 3 and up)."""
_IMAGES = (
    ("plugins", "io.containerd.grpc.v1.cri", "containerd"),
    ("plugins", "io.containerd.cri.v1.images"),
)
"""The table that names the snapshotter, in the same two."""
_KEY = "config_path"


def configured_folders(dump: str) -> list[str]:
    """Return where containerd looks for ``hosts.toml`` files: from what ``containerd config dump`` prints.

    Raises:
        InputError: It is configured in the old way, which cannot be had together with these files.
    """
    statements = read_statements(split_lines(dump))
    for statement in statements:
        if statement.table in _REGISTRY.values() and statement.key == (_KEY,) and statement.string:
            return [folder for folder in statement.string.split(":") if folder]
    for statement in statements:
        for registry in _REGISTRY.values():
            below = statement.table[len(registry) :] if statement.table[: len(registry)] == registry else ()
            if (below[:1] == ("mirrors",) and len(below) > 1) or (below[:1] == ("configs",) and "tls" in below):
                raise InputError(
                    f"containerd's configuration has {'.'.join(below)!r}, which excludes config_path",
                    "Write it as hosts.toml files (containerd, docs/hosts.md) and take it out of the configuration",
                )
    return []


def snapshotter(dump: str) -> str:
    """Return what unpacks Kubernetes' images, from what ``containerd config dump`` prints; empty if it does not say."""
    for statement in read_statements(split_lines(dump)):
        if statement.table in _IMAGES and statement.key == ("snapshotter",) and statement.string:
            return statement.string
    return ""


def with_folder(text: str, folder: str, dump: str) -> str:
    """Return a ``config.toml`` that has containerd look for ``hosts.toml`` files in ``folder``.

    Args:
        text: The file; empty where there is none.
        folder: The folder.
        dump: What ``containerd config dump`` prints, for the version of a file that is made.

    Raises:
        InputError: The file is of a version that has no such setting.
    """
    lines = split_lines(taken_back(text))
    statements = read_statements(lines)
    version = _version(lines, statements)
    block = []
    if not statements:
        dumped = split_lines(dump)
        version = _version(dumped, read_statements(dumped))
        block.append(f"version = {version}")
    if version < 2:
        raise InputError(
            "containerd's configuration is of version 1, which has no config_path",
            "Bring it to version 2 with: containerd config migrate",
        )
    table = _REGISTRY[1 if version == 2 else 2]
    setting = quote(folder)
    for each in statements:
        if each.path == (*table, _KEY) and not each.header:
            return with_block(lines, each.end, [f"{each.name} = {setting}"], range(each.start, each.end))
    for each in statements:
        if each.header == 1 and each.table == table:
            return with_block(lines, each.end, [f"  {_KEY} = {setting}"])
        if not each.header and len(each.table) < len(table) < len(each.path) and each.path[: len(table)] == table:
            # The table is defined by dotted keys, so it cannot have a header.
            key = dotted((*table[len(each.table) :], _KEY))
            return with_block(lines, each.end, [f"  {key} = {setting}"])
        if not each.header and each.path == table[: len(each.path)]:
            raise InputError(
                f"containerd's configuration has {dotted(each.path)} as an inline table, in line {each.start + 1}",
                f"Write it as [{dotted(each.path)}], with each of its keys in a line below",
            )
    return with_block(lines, len(lines), [*block, f"[{dotted(table)}]", f"  {_KEY} = {setting}"])


def meaning_of(dump: str) -> dict[str, Any]:
    """Return the meaning of a configuration, from what ``containerd config dump`` prints: each setting in a line."""
    lines = split_lines(dump)
    found: dict[str, Any] = {}
    for statement in read_statements(lines):
        entries = found
        for key in statement.table if statement.header else (*statement.table, *statement.key[:-1]):
            entries = entries.setdefault(key, {})
        if not statement.header:
            entries[statement.key[-1]] = "".join(lines[statement.start : statement.end]).strip()
    return found


def own_paths(_marked: Marked) -> list[tuple[str, ...]]:
    """Return the one setting that the role changes; containerd prints it where its own version has it."""
    return [(*table, _KEY) for table in _REGISTRY.values()]


def _version(lines: list[str], statements: list[Statement]) -> int:
    for statement in statements:
        if statement.table == () and statement.key == ("version",):
            digits = lines[statement.start].partition("=")[2].partition("#")[0].strip()
            return int(digits) if digits.isdigit() else 1
    return 1
