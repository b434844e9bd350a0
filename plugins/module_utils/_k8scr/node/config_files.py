# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configuration files of a node: follow links to them, read, compare, back up and write them."""

from __future__ import annotations

import codecs
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DestinationError, SourceError
from ..files.file_access import read_errors, write_errors
from .host import HostFiles
from .managed_block import managed_lines, parse_markers, remove_block

_MAX_LINKS = 40
"""The limit of Linux."""
MAX_SIZE = 4 << 20
"""The size of a configuration file that is read, in bytes; a larger one is something else."""


@dataclass(frozen=True)
class FileChange:
    """The planned change of a file.

    Attributes:
        before: The existing content; None if the file is missing.
        after: The new content; None to delete the file.
        whole: Whether the whole file is managed, so that it needs no backup.
        folder: Whether to delete the folder too if it is empty after the file is deleted.
        mode: The mode of a new file; an existing one keeps its mode.
    """

    path: Path
    before: str | None
    after: str | None
    whole: bool = False
    folder: bool = False
    mode: int = 0o644

    @property
    def changed(self) -> bool:
        """Whether the content changes."""
        return self.before != self.after and not (self.before == "" and self.after is None)

    @property
    def result(self) -> dict[str, Any]:
        """The entry in a module's result."""
        action = "unchanged"
        if self.changed:
            deleted = self.after is None and not self.path.is_symlink()
            action = "created" if self.before is None else "deleted" if deleted else "updated"
        return {"path": str(self.path), "action": action}

    @property
    def diff(self) -> dict[str, str]:
        """The output of ``--diff``: the managed and disabled lines only, since other lines may have passwords."""
        header, before, after = str(self.path), self.before or "", self.after or ""
        if not self.whole:
            before, after = managed_lines(before), managed_lines(after)
        return {"before_header": header, "after_header": header, "before": before, "after": after}


def resolve_symlinks(path: Path) -> Path:
    """Return a path with its symbolic links resolved; the file may be missing.

    Links of administrators are followed.

    Raises:
        SourceError: A link is dangling, part of a loop, or may have been created by another user.
    """
    target = path
    for _attempt in range(_MAX_LINKS):
        if not target.is_symlink():
            break
        _check_owner(target)
        target = target.parent / target.readlink()
    else:
        raise SourceError(f"{path} is a symbolic link in a loop of links", "Delete it")
    if target != path and not target.is_file():
        raise SourceError(
            f"{path} is a symbolic link to {target}, which is not a file", "Delete the link, or create its target"
        )
    return target


def read_text(path: Path) -> str | None:
    """Return the content of a file without its byte order mark, or None if the file is missing.

    Raises:
        SourceError: The file cannot be read, is not a text, or is a symbolic link that is not followed.
    """
    try:
        with read_errors(path), suppress(FileNotFoundError):
            descriptor = os.open(resolve_symlinks(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise SourceError(f"{path} is not a regular file", "Delete it, or set another path")
                content = file.read(MAX_SIZE + 1)
                if len(content) > MAX_SIZE:
                    raise SourceError(
                        f"{path} has more than {MAX_SIZE >> 20} MiB, so that it is not a configuration file",
                        "Set another path",
                    )
                return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{path} is not UTF-8 text in line {line}", "Save the file as UTF-8") from error
    return None


def read_managed_file(path: Path) -> str | None:
    """Return the content of a file that may have a managed block, or None if the file is missing.

    Raises:
        SourceError: See :func:`read_text`.
        InputError: The markers of the block are damaged.
    """
    text = read_text(path)
    if text is not None:
        parse_markers(text, path)
    return text


def apply_changes(changes: Sequence[FileChange], files: HostFiles, backup: bool) -> list[str]:
    """Write the changed files, after a backup of those with lines of administrators; return the backups' paths.

    Args:
        files: The module, which copies and moves the files.

    Raises:
        DestinationError: A file cannot be written, or was changed after the plan; the files before it are changed.
    """
    backups = []
    for change in changes:
        if not change.changed:
            continue
        with write_errors(change.path), _host_errors():
            target = resolve_symlinks(change.path)
            current = read_text(target)
            if current == change.after:
                continue  # Another run of the same task has just changed it.
            if current != change.before:
                raise DestinationError(
                    f"{change.path} is not changed: another process has just changed it", "Run again"
                )
            if backup and change.before and not change.whole and remove_block(change.before).strip():
                with _backed_up(target, files) as copy:
                    _apply(change, target, files)
                backups.append(copy)
            else:
                _apply(change, target, files)
    return backups


@contextmanager
def temporary_file(folder: Path, text: str, suffix: str = "", encoding: str = "utf-8") -> Iterator[Path]:
    """Write a text to a temporary file, and delete the file afterwards unless it was moved.

    Raises:
        OSError: The file cannot be written.
    """
    descriptor, name = tempfile.mkstemp(prefix=".k8scr-", suffix=suffix, dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding=encoding, newline="") as file:
            file.write(text)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _check_owner(link: Path) -> None:
    """Check that root or this user created a link, in a folder that is not writable for other users."""
    folder = link.parent.stat()
    owners = {link.lstat().st_uid, folder.st_uid}
    if owners - {0, os.geteuid()} or folder.st_mode & stat.S_IWOTH:
        raise not_followed(link)


def not_followed(link: Path) -> SourceError:
    """Return the error for a symbolic link that another user may have created."""
    return SourceError(
        f"{link} is not followed: other users may have created this symbolic link",
        f"Allow only root to write to {link.parent}",
    )


@contextmanager
def _host_errors() -> Iterator[None]:
    """Convert exceptions of AnsibleModule, which have no class of their own, to the error of the operating system."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__
        if isinstance(cause, OSError):
            raise cause from None  # pylint: disable=raising-non-exception
        raise


@contextmanager
def _backed_up(path: Path, files: HostFiles) -> Iterator[str]:
    """Back up a file while it is changed; after an error, delete the backup of the unchanged file."""
    # backup_local sets the mode of the backup only after it wrote the content.
    umask = os.umask(0o077)
    try:
        backup = files.backup_local(str(path))
    finally:
        os.umask(umask)
    try:
        yield backup
    except BaseException:
        Path(backup).unlink(missing_ok=True)
        raise


def _apply(change: FileChange, target: Path, files: HostFiles) -> None:
    if change.after is None and target == change.path:
        target.unlink()
        if change.folder:
            with suppress(OSError):  # It has other files.
                target.parent.rmdir()
    else:
        # A link is kept, so its target is emptied instead of deleted.
        _write(target, change.after or "", change.mode, files)


def _write(path: Path, text: str, mode: int, files: HostFiles) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _created(path, mode), temporary_file(path.parent, text, encoding=_encoding(path)) as temporary:
        files.atomic_move(str(temporary), str(path))


def _encoding(path: Path) -> str:
    """Return the encoding of an existing file: UTF-8 with or without a byte order mark."""
    with path.open("rb") as file:
        return "utf-8-sig" if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else "utf-8"


@contextmanager
def _created(path: Path, mode: int) -> Iterator[None]:
    """Create an empty file with a mode, unless it exists, for ``atomic_move`` to keep; delete it after an error."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        yield
        return
    try:
        # Some file systems set the modes themselves and reject changes.
        with suppress(OSError):
            os.fchmod(descriptor, mode)
        os.close(descriptor)
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
