# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""containerd's ``certs.d/HOST/hosts.toml`` (containerd, docs/hosts.md)."""

from __future__ import annotations

from pathlib import Path

from .managed_block import split_lines, taken_back, with_block
from .mirror import ALL, Mirror
from .toml_text import quote, read_statements

_OF_THE_SERVER = (("server",), ("override_path",), ("capabilities",), ("ca",))
"""What describes the upstream, and what takes its place when it is shut off."""


def folder_of(certs_d: Path, upstream: str) -> Path:
    """Return the folder that containerd looks into for a registry, which is the first that is there.

    Args:
        certs_d: The folder of all of them.
        upstream: The registry's host.
    """
    if upstream == ALL:
        return certs_d / "_default"
    host, colon, port = upstream.rpartition(":")
    if colon and not upstream.endswith("]"):
        underscored = certs_d / f"{host}_{port}_"
        if underscored.is_dir():
            return underscored
    return certs_d / upstream


def with_mirror(text: str, upstream: str, mirror: Mirror) -> str:
    """Return a ``hosts.toml`` in which the mirror is asked first, and all else is as it was."""
    lines = split_lines(taken_back(text))
    statements = read_statements(lines)
    prefix = mirror.prefix(upstream)
    url = f"{mirror.url}/v2/{prefix}" if prefix else mirror.url
    headers = [statement for statement in statements if statement.header]
    trusted = [f"ca = {quote(mirror.ca_cert)}"] if mirror.ca_cert else []
    block: list[str] = []
    aside: list[int] = []
    if not mirror.fallback:
        # containerd asks the server last, and it is the upstream unless it is said to be something else.
        block.append(f"server = {quote(url)}")
        block += ["override_path = true"] if prefix else []
        block += ['capabilities = ["pull", "resolve"]', *trusted]
        aside = [
            line
            for statement in statements
            if statement.table == () and statement.key in _OF_THE_SERVER
            for line in range(statement.start, statement.end)
        ]
    if not any(header.key == ("host", url) for header in headers):
        block += [f"[host.{quote(url)}]", '  capabilities = ["pull", "resolve"]']
        block += ["  override_path = true"] if prefix else []
        block += [f"  {line}" for line in trusted]
    # The server's keys stand before all tables, and the tables' order is the order in which hosts are asked.
    place = headers[0].start if headers else len(lines)
    while place and headers and lines[place - 1].lstrip().startswith("#"):
        place -= 1
    return with_block(lines, place, block, aside)
