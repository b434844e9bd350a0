# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""containerd's ``certs.d/HOST/hosts.toml`` (containerd, docs/hosts.md)."""

from __future__ import annotations

from pathlib import Path

from .managed_block import insert_block, remove_block, split_lines
from .mirror import ALL_REGISTRIES, Mirror
from .toml_statements import inline_table_error, quote, read_statements

_SERVER_KEYS = (("server",), ("override_path",), ("capabilities",), ("ca",), ("dial_timeout",))
"""The settings of the upstream, which a mirror without fallback replaces."""


def host_folder(certs_d: Path, upstream: str) -> Path:
    """Return the folder of a registry below ``certs_d``: the first existing one of those that containerd reads."""
    if upstream == ALL_REGISTRIES:
        return certs_d / "_default"
    host, colon, port = upstream.rpartition(":")
    if colon and not upstream.endswith("]"):
        underscored = certs_d / f"{host}_{port}_"
        if underscored.is_dir():
            return underscored
    return certs_d / upstream


def add_mirror(text: str, upstream: str, mirror: Mirror) -> str:
    """Return a ``hosts.toml`` with the mirror as the first host and its other entries unchanged.

    Raises:
        InputError: The hosts are an inline table; see :func:`.checked_edit.edit_errors`.
    """
    lines = split_lines(remove_block(text))
    statements = read_statements(lines)
    prefix = mirror.repository_prefix(upstream)
    url = f"{mirror.url}/v2/{prefix}" if prefix else mirror.url
    headers = [statement for statement in statements if statement.header]
    optional = {"ca": mirror.ca_cert, "dial_timeout": mirror.dial_timeout}
    settings = [f"{key} = {quote(value)}" for key, value in optional.items() if value]
    block: list[str] = []
    disabled: list[int] = []
    if not mirror.fallback:
        # containerd requests the server last. By default, the server is the upstream.
        block.append(f"server = {quote(url)}")
        block += ["override_path = true"] if prefix else []
        block += ['capabilities = ["pull", "resolve"]', *settings]
        disabled = [
            line
            for statement in statements
            if statement.table == () and statement.key in _SERVER_KEYS
            for line in range(statement.start, statement.end)
        ]
    if not any(statement.path[:2] == ("host", url) for statement in statements):
        inline = next((each for each in statements if each.path == ("host",) and not each.header), None)
        if inline:
            raise inline_table_error(inline)
        block += [f"[host.{quote(url)}]", '  capabilities = ["pull", "resolve"]']
        block += ["  override_path = true"] if prefix else []
        block += [f"  {line}" for line in settings]
    # Keys of the server precede all tables. containerd requests the hosts in the order of their tables.
    index = headers[0].start if headers else len(lines)
    # The comment before a table stays with it. A line of the value before it may look like a comment.
    end_of_keys = max((statement.end for statement in statements if statement.start < index), default=0)
    while headers and index > end_of_keys and lines[index - 1].lstrip().startswith("#"):
        index -= 1
    return insert_block(lines, index, block, disabled)


def excluded_text() -> str:
    """Return the ``hosts.toml`` of a registry to which the hosts for all registries do not apply.

    Without hosts and a server, containerd pulls from the registry itself. Before 1.7.32, it logs an error for each pull
    if the table is missing.
    """
    return insert_block([], 0, ["# Images of this registry are not pulled from the mirror.", "[host]"])
