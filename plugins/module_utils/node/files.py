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
from .own_lines import own_part


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
    """

    path: Path
    before: str | None
    after: str | None
    whole: bool = False
    folder: bool = False

    @property
    def changed(self) -> bool:
        """Whether there is a difference."""
        return self.before != self.after

    @property
    def result(self) -> dict[str, Any]:
        """The entry of a module's result."""
        action = "unchanged"
        if self.changed:
            action = "created" if self.before is None else "deleted" if self.after is None else "updated"
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
        SourceError: It is there and cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def carry_out(changes: Sequence[Change], keeper: FileKeeper, backup: bool) -> list[str]:
    """Make the files as they shall be.

    Args:
        changes: The files.
        keeper: The module.
        backup: Whether a file of others is copied before it gets lines of ours.

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
            if backup and change.before and not change.whole and not own_part(change.before):
                copies.append(keeper.backup_local(str(change.path)))
            if change.after is None:
                change.path.unlink()
                if change.folder:
                    _delete_if_empty(change.path.parent)
            else:
                _write(change.path, change.after, keeper)
    return copies


def _write(path: Path, text: str, keeper: FileKeeper) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".k8scr-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            os.fchmod(descriptor, 0o644)
        keeper.atomic_move(temporary, str(path))
    finally:
        Path(temporary).unlink(missing_ok=True)


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
