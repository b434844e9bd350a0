# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples in the guides: files to save, commands to run, and code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GUIDES = Path(__file__).resolve().parents[2] / "docs/docsite/rst"
_BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:    .*\n|\n)+)", re.MULTILINE)
_SAVED = re.compile(r"[Ss]ave .* as ``(\S+\.yml)``.*:$")
_RECAP = re.compile(r"^(\S+)\s*:.* changed=(\d+) .* failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Guide:
    """The examples of one guide.

    Attributes:
        files: The texts of the files that the guide tells users to save, by name.
        commands: The commands, in order.
        programs: The Python examples.
    """

    files: Mapping[str, str]
    commands: list[str]
    programs: list[str]


def read_guide(name: str, replaced: Mapping[str, str] | None = None) -> Guide:
    """Read the examples of a guide.

    Args:
        name: The guide's file name.
        replaced: Texts to replace, and their replacements.
    """
    text = (GUIDES / name).read_text()
    for old, new in (replaced or {}).items():
        assert old in text, f"{name} does not contain {old}"
        text = text.replace(old, new)
    files: dict[str, str] = {}
    commands: list[str] = []
    programs: list[str] = []
    for found in _BLOCK.finditer(text):
        language, block = found[1], textwrap.dedent(found[2])
        _rest, _newline, sentence = text[: found.start()].rstrip().rpartition("\n")
        if saved := _SAVED.search(sentence):
            files[saved[1]] = block
        elif language == "console":
            commands += [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
        elif language == "python":
            programs.append(block)
    return Guide(files, commands, programs)


@dataclass(frozen=True)
class CommandResult:
    """The output of a command, and what the recap of ansible-playbook says.

    Attributes:
        output: The standard output and error.
        changes: The number of changes on each host without failures.
    """

    output: str
    changes: dict[str, int]


def run_command(
    command: str,
    folder: Path,
    kubeconfig: Path,
    options: list[str] | None = None,
    fails: bool = False,
    inside: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> CommandResult:
    """Run a command of a guide.

    Args:
        command: The command, as in the guide.
        folder: The working directory, which is also the home directory.
        kubeconfig: The kubeconfig of the user.
        options: Additional options if the command is ansible or ansible-playbook.
        fails: Whether the command must fail.
        inside: A command that runs the command, for example in a network namespace.
        variables: The environment variables; None for those of this process.
    """
    environment = {
        **(os.environ if variables is None else variables),
        "HOME": str(folder),
        "KUBECONFIG": str(kubeconfig),
    }
    arguments = shlex.split(command)
    playbook = arguments[0] == "ansible-playbook"
    if arguments[0] in ("ansible", "ansible-playbook"):
        arguments += options or []
    done = subprocess.run(
        [*inside, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, output
    changes = {host: int(changed) for host, changed, failed in _RECAP.findall(done.stdout) if failed == "0"}
    assert changes or fails or not playbook, output
    return CommandResult(output, changes)
