# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""containerd's own configuration: where it looks for ``hosts.toml`` files, and what unpacks Kubernetes' images."""

from __future__ import annotations

from ..errors import InputError
from .own_lines import taken_back, with_block
from .toml_text import Statement, quote, read_statements

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


def configured_folders(dump: str) -> list[str]:
    """Return where containerd looks for ``hosts.toml`` files: from what ``containerd config dump`` prints.

    Raises:
        InputError: It is configured in the old way, which cannot be had together with these files.
    """
    statements = read_statements(dump.splitlines())
    for statement in statements:
        if statement.table in _REGISTRY.values() and statement.key == ("config_path",) and statement.string:
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
    for statement in read_statements(dump.splitlines()):
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
    lines = taken_back(text).splitlines()
    statements = read_statements(lines)
    said = _version(lines, statements)
    block = []
    if not statements:
        dumped = dump.splitlines()
        said = _version(dumped, read_statements(dumped))
        block.append(f"version = {said}")
    if said < 2:
        raise InputError(
            "containerd's configuration is of version 1, which has no config_path",
            "Bring it to version 2 with: containerd config migrate",
        )
    table = _REGISTRY[1 if said == 2 else 2]
    setting = f"config_path = {quote(folder)}"
    header = next((each for each in statements if each.header and each.table == table), None)
    if header is None:
        name = ".".join(part if part.isalnum() else quote(part) for part in table)
        return with_block(lines, len(lines), [*block, f"[{name}]", f"  {setting}"])
    aside = [
        line
        for statement in statements
        if statement.table == table and statement.key == ("config_path",)
        for line in range(statement.start, statement.end)
    ]
    return with_block(lines, header.end, [f"  {setting}"], aside)


def _version(lines: list[str], statements: list[Statement]) -> int:
    for statement in statements:
        if statement.table == () and statement.key == ("version",):
            digits = lines[statement.start].partition("=")[2].partition("#")[0].strip()
            return int(digits) if digits.isdigit() else 1
    return 1
