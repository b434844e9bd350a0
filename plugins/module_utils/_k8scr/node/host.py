# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The functions of AnsibleModule that run commands and change files on the host of the module."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from ..errors import SourceError
from ..oci.platform import parse_platform


class HostCommands(Protocol):
    """The functions for commands."""

    tmpdir: str

    def run_command(
        self, args: list[str], *, environ_update: dict[str, str], handle_exceptions: bool
    ) -> tuple[int, str, str]:
        """Run a program and return its status, its output and its error output."""


class HostFiles(Protocol):
    """The functions for files."""

    def backup_local(self, fn: str) -> str:
        """Copy a file to a name with the current time, and return that name."""

    def atomic_move(self, src: str, dest: str) -> None:
        """Replace a file, and keep its owner and mode."""


class MissingProgramError(SourceError):
    """A program cannot be run."""


def run_program(commands: HostCommands, command: Sequence[str]) -> tuple[int, str, str]:
    """Run a program with messages in English, and return its status, its output and its error output.

    Raises:
        MissingProgramError: The program cannot be run.
    """
    try:
        return commands.run_command(list(command), environ_update={"LC_ALL": "C"}, handle_exceptions=False)
    except OSError as error:
        raise missing_program(command[0], error.strerror or "") from error


def missing_program(program: str, reason: str) -> MissingProgramError:
    """Return the error for a program that cannot be run."""
    return MissingProgramError(f"{program} cannot be run: {reason}", "Install it, or set the path of the program")


def host_platform() -> str:
    """Return the platform of this host, without a variant, as Kubernetes names the platform of a node."""
    machine = os.uname().machine
    return str(parse_platform(f"linux/{'arm' if machine.startswith('armv') else machine}"))
