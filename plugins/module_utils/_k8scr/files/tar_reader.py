# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read tar archives without extraction: an index of each file's offset and size, with limits for untrusted headers.

``tarfile`` is unsuitable for untrusted archives: a negative size causes an endless loop, and a long name of any
declared length is read into memory.
Formats: POSIX.1-2001 (pax), ustar, and GNU's long names and large sizes.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..errors import SourceError
from ..oci.content import Blocks
from ..oci.decimal import parse_decimal
from .file_access import closed_on_failure
from .file_content import open_content

_BLOCK = 512
_MAXIMUM_ENTRIES = 100_000
_MAXIMUM_EXTENSION = 64 << 10
_MAXIMUM_NAMES = 32 << 20
"""Total characters of all names and links, which stay in memory."""
_MAXIMUM_LINKS = 8
_MAXIMUM_NUMBER = 1 << 63
_REGULAR = (b"0", b"\0", b"7")
_HARD_LINK, _SYMBOLIC_LINK, _FOLDER = b"1", b"2", b"5"
_GNU_LONG_NAME, _GNU_LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_SPARSE = "GNU.sparse"
_PAX_RECORD = re.compile(rb"([0-9]{1,5}) ([^=\n]+)=")
_OCTAL = re.compile(rb"[0-7]*")


class TarFiles:
    """The files of a tar archive, plain or compressed. Nothing is extracted.

    Args:
        keep_open: Whether the archive's path is valid only now, so that the archive stays open.
        tmp_dest: The folder for archives that have to be unpacked; by default TMPDIR or ``/var/tmp``.

    Attributes:
        description: The name of the archive in messages; by default, its path.
        entries: The offset and the size in bytes of each regular file's content, by name.
        is_compressed: Whether the archive as a whole is compressed.

    Raises:
        SourceError: The archive cannot be read, is not a tar archive, is truncated, or has an unsupported entry
            (a device, a sparse file, a name or a link that points outside the archive).
    """

    def __init__(
        self, path: Path, description: str | None = None, keep_open: bool = False, tmp_dest: str | None = None
    ) -> None:
        self.path = path
        self.description = description or f"the archive {path}"
        self._content = open_content(path, self.description, keep_open, tmp_dest)
        self.is_compressed = self._content.compressed
        self.entries: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        with closed_on_failure(self):
            self._index()

    def close(self) -> None:
        self._content.close()

    def size(self, name: str) -> int | None:
        target = self.resolve(name)
        return self.entries[target][1] if target else None

    @contextmanager
    def open(self, name: str, offset: int = 0) -> Iterator[Blocks]:
        target = self.resolve(name)
        if target is None:
            raise SourceError(f"{self.description} has no entry {name}")
        start, size = self.entries[target]
        what = f"{name} in {self.description}"
        # A reader that stops early releases the archive at once.
        with closing(self._content.blocks(start + offset, size - offset, what)) as blocks:
            yield blocks

    def resolve(self, name: str) -> str | None:
        """Follow links, and return the name of the regular file, or ``None`` if it does not exist.

        Raises:
            SourceError: The link is circular.
        """
        name = posixpath.normpath(name)
        for _hop in range(_MAXIMUM_LINKS):
            if name in self.entries:
                return name
            if name not in self._links:
                return None
            name = self._links[name]
        raise SourceError(f"the link {name} in {self.description} is circular")

    def _index(self) -> None:
        position = names = end = 0
        name = ""
        extension: dict[str, str] = {}
        for _count in range(_MAXIMUM_ENTRIES):
            header = self._content.read(position, _BLOCK)
            if not header.strip(b"\0"):
                if not position:
                    raise self._damaged("it is empty")
                self._check_end(end, name)
                self._content.check_end()
                return
            self._check_header(header, position)
            kind, name, start = header[156:157], _name(header, extension), position + _BLOCK
            size = self._number(extension.pop("size", None), header[124:136], name)
            if kind not in (*_REGULAR, _GNU_LONG_NAME, _GNU_LONG_LINK, _PAX, _PAX_GLOBAL):
                size = 0
            position = start + -(-size // _BLOCK) * _BLOCK
            end = start + size
            self._check_end(end, name)
            if kind in (_GNU_LONG_NAME, _GNU_LONG_LINK, _PAX, _PAX_GLOBAL):
                extension.update(self._read_extension(kind, name, start, size))
                continue
            names += len(name) + len(extension.get("linkpath", ""))
            if names > _MAXIMUM_NAMES:
                raise self._damaged(f"the names of its entries have more than {_MAXIMUM_NAMES} characters")
            self._add(kind, name, header, extension, start, size)
            extension = {}
        raise self._damaged(f"it has more than {_MAXIMUM_ENTRIES} entries")

    def _add(self, kind: bytes, name: str, header: bytes, extension: dict[str, str], start: int, size: int) -> None:
        path = self._normalize(name, name)
        if _SPARSE in extension:
            raise self._damaged(f"its entry {name!r:.200} is a sparse file, which is not supported")
        if kind in _REGULAR:
            self.entries[path] = (start, size)
            self._links.pop(path, None)
        elif kind in (_HARD_LINK, _SYMBOLIC_LINK):
            target = extension.get("linkpath") or _text(header[157:257])
            base = posixpath.dirname(path) if kind == _SYMBOLIC_LINK else ""
            self._links[path] = self._normalize(posixpath.join(base, target), name)
            self.entries.pop(path, None)
        elif kind != _FOLDER:
            raise self._damaged(f"its entry {name!r:.200} is a device or another unsupported type of file")

    def _normalize(self, name: str, entry: str) -> str:
        path = posixpath.normpath(name)
        if name.startswith("/") or path == ".." or path.startswith("../") or "\0" in name:
            raise self._damaged(f"its entry {entry!r:.200} points outside the archive")
        return path

    def _read_extension(self, kind: bytes, name: str, start: int, size: int) -> dict[str, str]:
        if size > _MAXIMUM_EXTENSION:
            raise self._damaged(f"the name or extended header {name!r:.200} has a declared size of {size} bytes")
        content = self._content.read(start, size)
        if kind == _PAX_GLOBAL:
            return {}
        if kind in (_GNU_LONG_NAME, _GNU_LONG_LINK):
            return {"path" if kind == _GNU_LONG_NAME else "linkpath": _text(content)}
        return self._pax_records(content, name)

    def _pax_records(self, content: bytes, name: str) -> dict[str, str]:
        records = {}
        position, end = 0, len(content.rstrip(b"\0"))
        while position < end:
            record = _PAX_RECORD.match(content, position)
            length = (parse_decimal(record[1].decode()) or 0) if record else 0
            after = position + length
            if record is None or after <= record.end() or content[after - 1 : after] != b"\n":
                raise self._damaged(f"the extended header {name!r:.200} is malformed")
            key = record[2].decode("ascii", "replace")
            if key in ("path", "linkpath", "size"):
                records[key] = content[record.end() : after - 1].decode("utf-8", "surrogateescape")
            elif key.startswith(_SPARSE):
                records[_SPARSE] = ""
            position = after
        return records

    def _check_header(self, header: bytes, position: int) -> None:
        if len(header) < _BLOCK:
            if position:
                raise SourceError(f"{self.description} is truncated", "The copy is incomplete; copy it again")
            raise self._damaged("it is shorter than one header")
        # The checksum counts its own field as spaces (POSIX.1-2001, pax, "ustar Header Block").
        if _octal(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 0x20:
            raise self._damaged(f"the header at byte {position} is invalid")

    def _check_end(self, end: int, name: str) -> None:
        length = self._content.length
        if length is not None and end > length:
            raise SourceError(
                f"{self.description} is truncated: it has {length} bytes, but its entry {name!r:.200} ends at {end}",
                "The copy is incomplete; copy it again",
            )

    def _number(self, text: str | None, field: bytes, name: str) -> int:
        if text is not None:
            number = parse_decimal(text)
        elif field[0] == 0x80:
            number = int.from_bytes(field[1:], "big")
        else:
            number = _octal(field)
        if number is None or not 0 <= number < _MAXIMUM_NUMBER:
            raise self._damaged(f"its entry {name!r:.200} has the invalid number {text or field!r:.60}")
        return number

    def _damaged(self, why: str) -> SourceError:
        return SourceError(f"{self.description} is not a readable tar archive: {why}")


def _name(header: bytes, extension: dict[str, str]) -> str:
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return extension.get("path") or posixpath.join(prefix, _text(header[:100]))


def _octal(field: bytes) -> int:
    """Return the number in a header's field, 0 for an empty field, or -1 for an invalid one."""
    digits = field.strip(b" \0")
    return int(digits or b"0", 8) if _OCTAL.fullmatch(digits) else -1


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")
