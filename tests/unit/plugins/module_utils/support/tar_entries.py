# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entries of invalid tar archives, and the open files of the process."""

from __future__ import annotations

import os
import tarfile
from contextlib import suppress
from pathlib import Path

END = bytes(1024)


def entry(name: str, content: bytes = b"", kind: bytes = b"0", link: str = "", size: bytes | None = None) -> bytes:
    """Return one entry of an archive, with any size in its header."""
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.size = kind, link, len(content)
    raw = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    if size is not None:
        raw[-512 + 124 : -512 + 136] = size.ljust(12, b"\0")
        raw[-512 + 148 : -512 + 156] = b" " * 8
        raw[-512 + 148 : -512 + 156] = b"%06o\0 " % sum(raw[-512:])
    return bytes(raw) + content + bytes(-len(content) % 512)


def pax(**records: str) -> bytes:
    """Return the extended header of the entry that follows."""
    content = b""
    for key, value in records.items():
        rest = f" {key}={value}\n".encode()
        length = next(n for n in range(len(rest), len(rest) + 9) if n == len(str(n)) + len(rest))
        content += str(length).encode() + rest
    return entry("PaxHeaders/x", content, b"x")


def free_descriptor() -> int:
    """Return the lowest free file descriptor, which the next opened file gets."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def open_files() -> list[os.stat_result]:
    """Return the states of all open files of this process."""
    found = []
    for descriptor in Path("/dev/fd").iterdir():
        # One of them listed the others, and is closed.
        with suppress(OSError):
            found.append(os.fstat(int(descriptor.name)))
    return found
