# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""containerd's configuration: its ``config_path`` and Kubernetes' snapshotter."""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from ..oci.decimal import parse_decimal
from .managed_block import ManagedFile, insert_block, remove_block, split_lines
from .toml_statements import dotted_key, inline_table_error, quote, read_statements

_REGISTRY = {
    1: ("plugins", "io.containerd.grpc.v1.cri", "registry"),
    2: ("plugins", "io.containerd.cri.v1.images", "registry"),
}
"""The table of registries in containerd 1 (configuration of version 2) and 2 (of version 3 and newer)."""
_IMAGES = (
    ("plugins", "io.containerd.grpc.v1.cri", "containerd"),
    ("plugins", "io.containerd.cri.v1.images"),
)
"""The table of the snapshotter in the same two versions."""
_SANDBOX = (
    ("plugins", "io.containerd.grpc.v1.cri", "sandbox_image"),
    ("plugins", "io.containerd.cri.v1.images", "pinned_images", "sandbox"),
)
"""The setting of the sandbox image in the same two versions."""
_KEY = "config_path"


def configured_folders(dump: str) -> list[str]:
    """Return the folders of ``hosts.toml`` files in the output of ``containerd config dump``.

    Raises:
        InputError: The configuration has mirrors or TLS settings of its own, which exclude ``config_path``.
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
                    "Move it to hosts.toml files (containerd, docs/hosts.md)",
                )
    return []


def configured_snapshotter(dump: str) -> str:
    """Return Kubernetes' snapshotter in the output of ``containerd config dump``; empty if it is not set."""
    for statement in read_statements(split_lines(dump)):
        if statement.table in _IMAGES and statement.key == ("snapshotter",) and statement.string:
            return statement.string
    return ""


def configured_sandbox(dump: str) -> str:
    """Return the name of the sandbox image in the output of ``containerd config dump``; empty if it is not set."""
    for statement in read_statements(split_lines(dump)):
        if statement.path in _SANDBOX and not statement.header and statement.string:
            return statement.string
    return ""


def set_config_path(text: str, folder: str, dump: str) -> str:
    """Return a ``config.toml`` with ``config_path`` set to a folder of ``hosts.toml`` files.

    An empty file gets the version in ``dump``, the output of ``containerd config dump``.

    Raises:
        InputError: The version of the file has no such setting, or the table is an inline table; see
            :func:`.checked_edit.edit_errors`.
    """
    lines = split_lines(remove_block(text))
    statements = read_statements(lines)
    version = _version(lines if statements else split_lines(dump))
    block = [] if statements else [f"version = {version}"]
    if version < 2:
        raise InputError(
            "it has version 1, which does not support config_path",
            "Migrate it to version 2 with: containerd config migrate",
        )
    table = _REGISTRY[1 if version == 2 else 2]
    setting = quote(folder)
    for each in statements:
        if each.path == (*table, _KEY) and not each.header:
            return insert_block(lines, each.end, [f"{each.name} = {setting}"], range(each.start, each.end))
    for each in statements:
        if each.header == 1 and each.table == table:
            return insert_block(lines, each.end, [f"  {_KEY} = {setting}"])
        if not each.header and len(each.table) < len(table) < len(each.path) and each.path[: len(table)] == table:
            # Dotted keys define the table, so it cannot have a header.
            key = dotted_key((*table[len(each.table) :], _KEY))
            return insert_block(lines, each.end, [f"  {key} = {setting}"])
        if not each.header and each.path == table[: len(each.path)]:
            raise inline_table_error(each)
    return insert_block(lines, len(lines), [*block, f"[{dotted_key(table)}]", f"  {_KEY} = {setting}"])


def parse_dump(dump: str) -> dict[str, Any]:
    """Parse the output of ``containerd config dump``; the value of each setting is its text."""
    lines = split_lines(dump)
    parsed: dict[str, Any] = {}
    for statement in read_statements(lines):
        entries = parsed
        for key in statement.table if statement.header else (*statement.table, *statement.key[:-1]):
            entries = entries.setdefault(key, {})
        if not statement.header:
            entries[statement.key[-1]] = "".join(lines[statement.start : statement.end]).strip()
    if isinstance(parsed.get("imports"), str):
        # containerd 1 prints the files in random order.
        value = parsed["imports"].partition("=")[2].strip("[] ")
        parsed["imports"] = sorted(name.strip() for name in value.split(","))
    return parsed


def managed_keys(_file: ManagedFile) -> list[tuple[str, ...]]:
    """Return the keys of ``config_path``; containerd prints it in the table of its own version."""
    return [(*table, _KEY) for table in _REGISTRY.values()]


def _version(lines: list[str]) -> int:
    for statement in read_statements(lines):
        if statement.table == () and statement.key == ("version",):
            return parse_decimal(lines[statement.start].partition("=")[2].partition("#")[0].strip()) or 1
    return 1
