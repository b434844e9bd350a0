# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes to containerd's configuration, which containerd itself parses before the file is replaced."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..errors import DestinationError, InputError, K8scrError, SourceError
from . import config_toml, toml_format
from .checked_edit import Format, Meaning, UnparsableError, edited, removed
from .files import Change, read_managed
from .links import real_path
from .managed_block import taken_back


class Runner(Protocol):
    """What of AnsibleModule is needed here."""

    tmpdir: str

    def run_command(
        self, args: list[str], *, environ_update: dict[str, str], handle_exceptions: bool
    ) -> tuple[int, str, str]:
        """Run a program, and return its status, its output and its error output."""


class MissingProgramError(SourceError):
    """containerd cannot be run."""


class Containerd:
    """A containerd program and its configuration file.

    Args:
        program: The program.
        config: The path of the file.
        runner: The module.
    """

    def __init__(self, program: str, config: Path, runner: Runner) -> None:
        self._program = program
        self._config = config
        self._runner = runner
        self._dumps: dict[str, str] = {}

    def dump(self, text: str | None) -> str:
        """Return the whole configuration as containerd understands it.

        Args:
            text: The file; None for containerd's default, without a file.

        Raises:
            MissingProgramError: There is no containerd.
            UnparsableError: containerd cannot read the file.
        """
        if text is None:
            return self._run("config", "default")
        if text not in self._dumps:
            with self._copy(text) as copy:
                printed = self._run("--config", str(copy), "config", "dump")
            # containerd 1 prints the name of the file.
            self._dumps[text] = printed.replace(str(copy), str(self._config))
        return self._dumps[text]

    def parse(self, text: str) -> Meaning:
        """Return the meaning of a configuration; without containerd, that of its TOML.

        Raises:
            UnparsableError: It is not valid.
            InputError: There is neither containerd nor a parser.
        """
        try:
            return config_toml.meaning_of(self.dump(text))
        except MissingProgramError:
            return toml_format.parse(text)

    @property
    def format(self) -> Format:
        """The format of the file."""
        return Format(self.parse, config_toml.own_paths)

    def _run(self, *arguments: str) -> str:
        try:
            status, printed, errors = self._runner.run_command(
                [self._program, *arguments], environ_update={"LC_ALL": "C"}, handle_exceptions=False
            )
        except OSError as error:
            raise MissingProgramError(
                f"{self._program} cannot be run: {error.strerror}", "Install containerd, or say where it is"
            ) from error
        if status:
            raise UnparsableError(f"containerd cannot read it: {errors.strip()[-500:]}")
        return printed

    @contextmanager
    def _copy(self, text: str) -> Iterator[Path]:
        """Write a temporary copy beside the file, from where its relative imports are found."""
        folder = real_path(self._config).parent
        place = folder if folder.is_dir() else Path(self._runner.tmpdir)
        try:
            descriptor, name = tempfile.mkstemp(prefix=".k8scr-", suffix=".toml", dir=place)
        except OSError as error:
            raise DestinationError(f"{place} cannot be written to: {error.strerror}") from error
        copy = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            yield copy
        finally:
            copy.unlink(missing_ok=True)


def plan_containerd(options: Mapping[str, Any], runner: Runner) -> tuple[Change, str]:
    """Return the change of containerd's configuration, and the folder in which it looks for hosts.toml files then.

    Args:
        options: The parameters of ``k8scr_containerd``.
        runner: The module.

    Raises:
        K8scrError: The file cannot be read or changed; without it being valid, only a managed block can be removed.
    """
    config, folder = Path(options["config"]), options["certs_d"]
    before = read_managed(config)
    containerd = Containerd(options["program"], config, runner)
    if options["state"] == "absent":
        after = removed(config, before, containerd.format)
        return Change(config, before, after), _folder(containerd, before) or folder
    try:
        dump = containerd.dump(before)
    except UnparsableError:
        # Without the managed block it may be valid.
        dump = _dump(containerd, config, taken_back(before or ""))
    configured = config_toml.configured_folders(dump)
    if configured:
        return Change(config, before, before), configured[0]
    after = edited(config, before or "", config_toml.with_folder(before or "", folder, dump), containerd.format)
    if config_toml.configured_folders(_dump(containerd, config, after)) != [folder]:
        raise InputError(
            f"{config} is not changed: containerd would not look into {folder}, although config_path is set to it",
            "Look for config_path in the files that the configuration imports",
        )
    return Change(config, before, after), folder


def _dump(containerd: Containerd, config: Path, text: str | None) -> str:
    try:
        return containerd.dump(text)
    except UnparsableError as error:
        raise SourceError(f"{config} is not changed: {error.message}", "Correct the configuration") from error


def _folder(containerd: Containerd, text: str | None) -> str:
    """Return where containerd looks, also where the file is not valid; empty if that cannot be told."""
    try:
        dump = containerd.dump(text)
    except K8scrError:
        dump = text or ""
    try:
        return next(iter(config_toml.configured_folders(dump)), "")
    except InputError:
        # Mirrors in the configuration itself, so it has no folder.
        return ""
