# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A user's folder with playbooks, their runs on a terminal, and the pictures of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from cluster import layout
from cluster.errors import log
from live.layout_writer import LayoutWriter
from unit.plugins.module_utils.support.terminal import Span, Style, Terminal, open_terminal

from .picture import draw

COLUMNS = 124
"""The width of terminals; most statuses and lines are shorter."""
_TIMEOUT = 300
_GROUP = "group/k8scr.core.registry"
_INVENTORY = {"all": {"hosts": {"bastion": {"ansible_connection": "local"}}}}
_OMITTED = [Span("…", Style(7))]
_CONFIGURATION = "[defaults]\ninventory = inventory.yml\ninterpreter_python = auto_silent\n"


class Studio:
    """A folder with an inventory of one host, whose playbooks run on a terminal.

    Args:
        folder: The folder.
        output: The folder of the pictures.
        options: Options of the modules that connect to the registry.
    """

    def __init__(self, folder: Path, output: Path, options: Mapping[str, Any]) -> None:
        self._folder, self._output, self._options = folder, output, options
        (folder / "inventory.yml").write_text(yaml.safe_dump(_INVENTORY))
        (folder / "ansible.cfg").write_text(_CONFIGURATION)

    def write_images(self, folder: str, names: Mapping[str, int], layers: int) -> Path:
        """Write an OCI layout.

        Args:
            folder: The layout's folder, relative to that of the playbooks.
            names: The images, each with the size of its layers in bytes.
            layers: The number of layers of each image.

        Returns:
            The folder.
        """
        writer = LayoutWriter(self._folder / folder)
        for name, size in names.items():
            writer.add(name, layers, size)
        writer.finish()
        return writer.folder

    @contextmanager
    def running(
        self, name: str, task: Mapping[str, Any], *flags: str, fails: bool = False, columns: int = COLUMNS
    ) -> Iterator[Terminal]:
        """Start a playbook with one task, and wait for its end after the block.

        Args:
            name: The playbook's name without suffix.
            task: The task.
            flags: Flags of ansible-playbook.
            fails: Whether the playbook must fail.
            columns: The width of the terminal.
        """
        play = {"hosts": "bastion", "gather_facts": False, "module_defaults": {_GROUP: dict(self._options)}}
        (self._folder / f"{name}.yml").write_text(yaml.safe_dump([{**play, "tasks": [dict(task)]}], sort_keys=False))
        cache = {"XDG_CACHE_HOME": str(self._folder / "cache"), "KUBECONFIG": str(layout.KUBECONFIG)}
        log(f"==== {name}.yml")
        with open_terminal(["ansible-playbook", f"{name}.yml", *flags], cache, columns, self._folder) as terminal:
            yield terminal
            status = terminal.wait(_TIMEOUT)
        assert (status != 0) == fails, terminal.output()

    def save(
        self,
        picture: str,
        title: str,
        terminal: Terminal,
        command: str,
        until: float | None = None,
        first: str = "",
        end: str = "",
    ) -> None:
        """Save a picture of a terminal.

        Args:
            picture: The picture's name.
            title: The title of the picture.
            terminal: The terminal.
            command: The arguments of ansible-playbook.
            until: Seconds since the start of the playbook; None for the screen at its end.
            first: Beginning of the first line to show; empty for all lines.
            end: Beginning of the line after the last one to show; empty for all lines.

        Raises:
            AssertionError: The picture shows a path or the name of this machine.
        """
        prompt = [Span("$ ", Style(7)), Span(f"ansible-playbook {command}", Style())]
        lines = terminal.screen(until).styled_lines()
        if first:
            lines = [_OMITTED, [], *lines[_find_row(lines, first) :]]
        if end:
            lines = [*lines[: _find_row(lines, end)], _OMITTED]
        drawn = draw(title, [prompt, *lines], terminal.columns)
        for private in (str(self._folder), str(layout.CACHE), str(Path.home()), str(Path.cwd()), socket.gethostname()):
            assert private not in drawn, f"{picture} shows {private}"
        self._output.mkdir(parents=True, exist_ok=True)
        (self._output / f"{picture}.svg").write_text(drawn)


def _find_row(lines: Sequence[Sequence[Span]], beginning: str) -> int:
    """Return the number of the first line with this beginning."""
    return next(row for row, line in enumerate(lines) if line and line[0].text.startswith(beginning))
