# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""containerd of a node that is reached through a Pod, see :mod:`.pod_script`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from ..errors import SourceError
from .containerd_config import unparsable
from .host import missing_program
from .pod_copy import Record, parse_records

Script = Callable[[Sequence[str], bytes], bytes]
"""Runs the script on the node with arguments and input, and returns its output."""


class PodContainerd:
    """The containerd of a node.

    Args:
        script: Runs the script on the node.
        program: The command.
        config: The path of the configuration file on the node.
        observed: The records of a program; they include the configuration for ``text``.
        text: The text of the configuration file; None without the file.
    """

    def __init__(self, script: Script, program: str, config: str, observed: Sequence[Record], text: str | None) -> None:
        self._script = script
        self._program = program
        self._config = config
        self._dumps: dict[str | None, Record] = {text: _only_dump(observed)}

    def default(self) -> str:
        return self._printed(None)

    def dump(self, text: str) -> str:
        return self._printed(text)

    def record(self, text: str | None) -> Record:
        """Return the record that the script prints if the configuration file has a text, or is missing (None)."""
        if text not in self._dumps:
            self._dumps[text] = self._default() if text is None else self._dump(text.encode())
        return self._dumps[text]

    def _printed(self, text: str | None) -> str:
        record = self.record(text)
        if record.kind == "missing":
            raise missing_program(self._program, "No such file or directory")
        if record.kind == "invalid":
            raise unparsable(record.content.decode("utf-8", "replace"))
        return record.content.decode("utf-8", "replace")

    def _default(self) -> Record:
        return _only_dump(parse_records(self._script(["observe", "program", self._program, ""], b"")))

    def _dump(self, content: bytes) -> Record:
        name = f".k8scr-{secrets.token_hex(8)}.toml"
        command = ["dump", self._program, self._config, name, str(len(content))]
        records = parse_records(self._script(command, content))
        copies = [record.name for record in records if record.kind == "copy"]
        record = _only_dump(records)
        text = record.content.decode("utf-8", "replace")
        for copy in copies:
            # containerd 1 prints the name of the file.
            text = text.replace(copy, self._config)
        return Record.of_program(record.kind, record.name, text)


def _only_dump(records: Sequence[Record]) -> Record:
    found = [record for record in records if record.kind in ("dump", "invalid", "missing")]
    if len(found) != 1:
        raise SourceError("the script on the node did not print containerd's configuration")
    return found[0]
