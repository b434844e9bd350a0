# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""containerd's configuration file; containerd parses the changed file before it replaces the existing one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..errors import InputError, K8scrError, SourceError
from ..files.file_access import write_errors
from . import config_toml, toml_parser
from .checked_edit import FileFormat, Parsed, UnparsableError, checked_edit, checked_removal, edit_errors
from .config_files import FileChange, read_managed_file, resolve_symlinks, temporary_file
from .host import HostCommands, MissingProgramError, run_program
from .managed_block import remove_block


class Containerd(Protocol):
    """The program containerd of a node, which prints effective configurations."""

    def default(self) -> str:
        """Return its configuration without a file; see :meth:`dump`."""

    def dump(self, text: str) -> str:
        """Return the effective configuration for a text of the configuration file.

        Raises:
            MissingProgramError: containerd is not installed.
            UnparsableError: containerd cannot read the text.
        """


class LocalContainerd:
    """The containerd of this host.

    Args:
        program: The command.
        path: The configuration file.
    """

    def __init__(self, program: str, path: Path, commands: HostCommands) -> None:
        self._program = program
        self._path = path
        self._commands = commands

    def default(self) -> str:
        return self._run("config", "default")

    def dump(self, text: str) -> str:
        # Relative imports work only in the folder of the file.
        folder = resolve_symlinks(self._path).parent
        folder = folder if folder.is_dir() else Path(self._commands.tmpdir)
        with write_errors(folder), temporary_file(folder, text, ".toml") as copy:
            printed = self._run("--config", str(copy), "config", "dump")
        # containerd 1 prints the name of the file.
        return printed.replace(str(copy), str(self._path))

    def _run(self, *arguments: str) -> str:
        status, printed, errors = run_program(self._commands, [self._program, *arguments])
        if status:
            raise unparsable(errors)
        return printed


def unparsable(errors: str) -> UnparsableError:
    """Return the error for a configuration that containerd cannot read, with its error output."""
    return UnparsableError(f"containerd cannot read it: {errors.strip()[-500:]}")


class ContainerdConfig:
    """containerd's configuration file."""

    def __init__(self, path: Path, containerd: Containerd) -> None:
        self.path = path
        self.format = FileFormat(self.parse, config_toml.managed_keys)
        self._containerd = containerd
        self._dumps: dict[str, str] = {}

    def dump(self, text: str | None) -> str:
        """Return the effective configuration that containerd prints for a file; without one (None), its default.

        Raises:
            MissingProgramError: containerd is not installed.
            UnparsableError: containerd cannot read the file.
        """
        if text is None:
            return self._containerd.default()
        if text not in self._dumps:
            self._dumps[text] = self._containerd.dump(text)
        return self._dumps[text]

    def checked_dump(self, text: str | None) -> str:
        """Return the effective configuration like :meth:`dump`, but raise SourceError if containerd cannot read it."""
        try:
            return self.dump(text)
        except UnparsableError as error:
            raise SourceError(f"{self.path} is not changed: {error.message}", "Correct the configuration") from error

    def parse(self, text: str) -> Parsed:
        """Parse a configuration with containerd or, if it is not installed, as TOML.

        Raises:
            UnparsableError: The configuration is not valid.
            InputError: The node has neither containerd nor a parser.
        """
        try:
            return config_toml.parse_dump(self.dump(text))
        except MissingProgramError:
            return toml_parser.parse(text)

    def config_path(self, text: str | None) -> str:
        """Return the folder of ``hosts.toml`` files; empty if it is unknown. The file may be invalid."""
        try:
            dump = self.dump(text)
        except K8scrError:
            dump = text or ""
        try:
            return next(iter(config_toml.configured_folders(dump)), "")
        except InputError:
            return ""


def plan_config_path(config: ContainerdConfig, folder: str) -> tuple[FileChange, str]:
    """Plan the change that sets ``config_path`` to a folder if it is unset; also return the folder after it.

    Raises:
        K8scrError: The file cannot be read or changed.
    """
    before = read_managed_file(config.path)
    try:
        dump = config.dump(before)
    except UnparsableError:
        # The file may be valid without the managed block.
        dump = config.checked_dump(remove_block(before or ""))
    configured = config_toml.configured_folders(dump)
    if configured:
        return FileChange(config.path, before, before), configured[0]
    with edit_errors(config.path):
        after = config_toml.set_config_path(before or "", folder, dump)
    after = checked_edit(config.path, before or "", after, config.format)
    if config_toml.configured_folders(config.checked_dump(after)) != [folder]:
        raise InputError(
            f"{config.path} is not changed: containerd would not use {folder}, although config_path is set to it",
            "Check the files that the configuration imports for config_path",
        )
    return FileChange(config.path, before, after), folder


def plan_config_path_removal(config: ContainerdConfig, folder: str) -> tuple[FileChange, str]:
    """Plan the removal of the managed block; also return the folder before it, or ``folder`` if that is unknown.

    The file may be invalid with the block.

    Raises:
        K8scrError: The file cannot be read or changed.
    """
    before = read_managed_file(config.path)
    after = checked_removal(config.path, before, config.format)
    return FileChange(config.path, before, after), config.config_path(before) or folder
