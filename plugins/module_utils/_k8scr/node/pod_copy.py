# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies of a node's files on the controller, from the records that :mod:`.pod_script` prints on the node."""

from __future__ import annotations

import base64
import glob
import hashlib
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, K8scrError, SourceError
from .config_files import MAX_SIZE, FileChange, not_followed
from .managed_block import remove_block

Observation = tuple[str, ...]
"""What to observe: ``content`` or ``name`` with a pattern of paths, ``version`` with a program, or ``program`` with
containerd and its configuration file."""
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@:,=~% ")
_IMPORTS = re.compile(rb"^imports = .*\n", re.MULTILINE)
_LINKED = ".linked"
"""The folder of a copy with the targets of its symbolic links."""


@dataclass(frozen=True)
class Record:
    """A file or a program of a node.

    Attributes:
        kind: ``file``, ``link`` to a file, or what the program printed, such as ``dump``.
        digest: The SHA-256 of the content; ``-`` if only the name counts.
        name: The path of the file, or the name of the program.
    """

    kind: str
    digest: str
    name: str
    content: bytes

    @classmethod
    def of_program(cls, kind: str, name: str, text: str) -> Record:
        """Return the record of an output of a program; the digest omits the same lines as in the script."""
        content = text.encode()
        return cls(kind, _digest(kind, content), name, content)

    @property
    def line(self) -> str:
        """The line of the manifest: the record without its content."""
        return f"{self.kind} {self.digest} {_encoded(self.name.encode())}"


def parse_records(output: bytes) -> list[Record]:
    """Return the records in an output.

    Raises:
        SourceError: The output has other lines, or a digest is not that of its content. Such a digest would assign the
            changes for this node to other nodes.
    """
    records = []
    try:
        for line in output.decode("ascii").splitlines():
            kind, digest, name, content = line.split(" ")
            decoded = b"" if content == "-" else base64.b64decode(content, validate=True)
            record = Record(kind, digest, base64.b64decode(name, validate=True).decode(), decoded)
            if digest not in ("-", _digest(kind, decoded)):
                raise SourceError(f"{record.name!r:.200} changed while it was read", "Run again")
            records.append(record)
    except ValueError as error:
        raise SourceError("the script on the node printed something else than records of files") from error
    return records


def records_key(records: Iterable[Record]) -> str:
    """Return the digest by which a new node with the same files finds its changes, as the script computes it."""
    lines = sorted({record.line for record in records})
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def require_safe(path: str, option: str) -> str:
    """Return an absolute path without characters that are special in patterns of a shell.

    Raises:
        InputError: It is another path.
    """
    if not _is_plain(path) or not _SAFE.issuperset(path):
        raise InputError(
            f"{option} {path!r} cannot be used in Pods",
            "Write an absolute path of letters, digits and the characters / . _ - + @ : , = ~ % and space",
        )
    return path


class NodeCopy:
    """A copy of a node's files in a folder of the controller.

    Args:
        root: An existing folder that only this user can read; the files may have passwords.

    Raises:
        SourceError: A file of the node cannot be copied.
    """

    def __init__(self, root: Path, records: Iterable[Record]) -> None:
        self._root = root
        # The names include those of files with content.
        for record in sorted(records, key=lambda record: record.kind in ("folder", "name")):
            try:
                self._add(record)
            except OSError as error:
                raise SourceError(f"{record.name} of the node cannot be copied: {error.strerror}") from error

    def path(self, on_node: str | Path) -> Path:
        """Return the path of the copy of a file.

        Raises:
            SourceError: The path is not an absolute path without ``..``.
        """
        if not _is_plain(str(on_node)):
            raise SourceError(f"the node has a file with the unusable path {str(on_node)!r:.200}")
        return self._root / str(on_node).lstrip("/")

    def on_node(self, text: str) -> str:
        """Return a text with the paths of files on the node in place of those of their copies."""
        return text.replace(str(self._root), "")

    @contextmanager
    def errors_on_node(self) -> Iterator[None]:
        """Name files on the node in errors, in place of their copies."""
        try:
            yield
        except K8scrError as error:
            raise error.replace(self.on_node(error.message), self.on_node(error.advice or "")) from error

    def key(self, observations: Sequence[Observation], programs: Iterable[Record]) -> str:
        """Return the key of the files, see :func:`records_key`."""
        records = list(programs)
        for kind, *arguments in observations:
            if kind in ("content", "name"):
                # Like a shell, and unlike Path.glob, this ignores hidden files.
                found = glob.glob(f"{glob.escape(str(self._root))}{arguments[0]}")  # noqa: PTH207
                # A name with a tilde is a backup.
                kept = [path for path in found if kind == "content" or not path.endswith("~")]
                records += [self._record(kind, Path(path)) for path in kept]
        return records_key(records)

    def answer(self, changes: Iterable[FileChange], backup: bool) -> str:
        """Return the lines with which the script makes changes on the node."""
        return "".join(self._answer_line(change, backup) for change in changes if change.changed)

    def _answer_line(self, change: FileChange, backup: bool) -> str:
        existing = change.path.read_bytes() if change.before is not None else None
        text = change.after or ""
        after = text.encode("utf-8-sig" if (existing or b"").startswith(b"\xef\xbb\xbf") else "utf-8")
        is_deleted = change.after is None and not change.path.is_symlink()
        # The same rule as in config_files.apply_changes.
        keeps = backup and change.before and not change.whole and remove_block(change.before).strip()
        fields = [
            "delete" if is_deleted else "write",
            "-" if existing is None else hashlib.sha256(existing).hexdigest(),
            "-" if is_deleted else hashlib.sha256(after).hexdigest(),
            f"{change.mode:o}",
            f"-{'b' if keeps else ''}{'f' if change.folder else ''}",
            _encoded(after) or "-",
            _encoded(self.on_node(str(change.path)).encode()),
        ]
        return f"{' '.join(fields)}\n"

    def _add(self, record: Record) -> None:
        if record.kind in ("version", "dump", "invalid", "missing"):
            return
        path = self.path(record.name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if record.kind in ("folder", "name"):
            if not os.path.lexists(path):
                (path.mkdir if record.kind == "folder" else path.touch)()
        elif record.kind == "other":
            os.mkfifo(path)
        elif record.kind == "link":
            folder = self._root / _LINKED
            folder.mkdir(exist_ok=True)
            target = folder / str(len(list(folder.iterdir())))
            target.write_bytes(record.content)
            path.symlink_to(target)
        elif record.kind == "dangling":
            path.symlink_to(self.path(posixpath.normpath(record.content.decode("utf-8", "replace"))))
        elif record.kind == "untrusted":
            raise not_followed(Path(record.name))
        else:
            path.write_bytes(record.content)
            if record.kind == "large":
                os.truncate(path, MAX_SIZE + 1)

    def _record(self, kind: str, path: Path) -> Record:
        name = self.on_node(str(path))
        if kind == "name":
            return Record("folder" if path.is_dir() else "name", "-", name, b"")
        content = path.read_bytes()
        return Record("link" if path.is_symlink() else "file", hashlib.sha256(content).hexdigest(), name, content)


class CopyFiles:
    """Moves files within a copy, which needs no backups."""

    def backup_local(self, fn: str) -> str:
        return fn

    def atomic_move(self, src: str, dest: str) -> None:
        Path(src).replace(dest)


def _digest(kind: str, content: bytes) -> str:
    counted = _IMPORTS.sub(b"", content) if kind == "dump" else content
    return hashlib.sha256(counted).hexdigest()


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _is_plain(path: str) -> bool:
    parts = path.split("/")
    return path.startswith("/") and path.isprintable() and ".." not in parts and parts[1] != _LINKED
