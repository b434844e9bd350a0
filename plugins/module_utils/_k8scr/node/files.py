# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configuration files of a node: read, compared, backed up and written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import DestinationError, SourceError
from .links import real_path
from .managed_block import own_part, read_marked, taken_back


class FileKeeper(Protocol):
    """What of AnsibleModule is needed here."""

    def backup_local(self, fn: str) -> str:
        """Copy a file to a name with the time in it, and return that name."""

    def atomic_move(self, src: str, dest: str) -> None:
        """Put a file in another's place, with that one's owner and mode."""


@dataclass(frozen=True)
class Change:
    """A file as it is, and as it shall be.

    Attributes:
        path: Its path.
        before: What is in it; None where it is not there.
        after: What shall be in it; None where it shall not be there.
        whole: Whether all of it is ours, so that there is nothing of others to back up.
        folder: Whether its folder goes with it, if nothing else is in it.
        mode: The mode of a new file; an existing one keeps its own.
    """

    path: Path
    before: str | None
    after: str | None
    whole: bool = False
    folder: bool = False
    mode: int = 0o644

    @property
    def changed(self) -> bool:
        """Whether there is a difference."""
        return self.before != self.after and not (self.before == "" and self.after is None)

    @property
    def result(self) -> dict[str, Any]:
        """The entry of a module's result."""
        action = "unchanged"
        if self.changed:
            deleted = self.after is None and not self.path.is_symlink()
            action = "created" if self.before is None else "deleted" if deleted else "updated"
        return {"path": str(self.path), "action": action}

    @property
    def diff(self) -> dict[str, str]:
        """What ``--diff`` shows: what is ours or set aside by us, since others may have written passwords there."""
        return {
            "before_header": str(self.path),
            "after_header": str(self.path),
            "before": self._shown(self.before),
            "after": self._shown(self.after),
        }

    def _shown(self, text: str | None) -> str:
        return (text or "") if self.whole else own_part(text or "")


def read_text(path: Path) -> str | None:
    """Return what is in a file, or None if there is none.

    Raises:
        SourceError: It is there and cannot be read, or is a symbolic link that is not followed.
    """
    try:
        descriptor = os.open(real_path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def read_managed(path: Path) -> str | None:
    """Return what is in a file that may have a managed block, or None if there is none.

    Raises:
        SourceError: It is there and cannot be read, or is a symbolic link that is not followed.
        InputError: The markers of the block are damaged.
    """
    text = read_text(path)
    if text is not None:
        read_marked(text, path)
    return text


def carry_out(changes: Sequence[Change], keeper: FileKeeper, backup: bool) -> list[str]:
    """Make the files as they shall be.

    Args:
        changes: The files.
        keeper: The module.
        backup: Whether a file that has lines of others is copied before each change.

    Returns:
        The paths of the copies.

    Raises:
        DestinationError: A file cannot be written; those before it are.
    """
    copies = []
    for change in changes:
        if not change.changed:
            continue
        with _writing(change.path):
            real = real_path(change.path)
            if backup and change.before and not change.whole and taken_back(change.before).strip():
                copies.append(_back_up(real, keeper))
            if change.after is None and real == change.path:
                change.path.unlink()
                if change.folder:
                    _delete_if_empty(change.path.parent)
            else:
                # A link stays, and so does its file.
                _write(real, change.after or "", change.mode, keeper)
    return copies


def _back_up(path: Path, keeper: FileKeeper) -> str:
    # The copy gets the mode of the file when it is complete, and must not be readable for others before.
    umask = os.umask(0o077)
    try:
        return keeper.backup_local(str(path))
    finally:
        os.umask(umask)


def _write(path: Path, text: str, mode: int, keeper: FileKeeper) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".k8scr-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        with _created(path, mode):
            # It takes over the mode and the owner of the file that it replaces.
            keeper.atomic_move(temporary, str(path))
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextmanager
def _created(path: Path, mode: int) -> Iterator[None]:
    """Create an empty file with a mode, unless it exists; delete it after an error."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        yield
        return
    os.fchmod(descriptor, mode)
    os.close(descriptor)
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _delete_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        # Others have something there.
        pass


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DestinationError(f"{path} cannot be written: {error.strerror or error}") from error
