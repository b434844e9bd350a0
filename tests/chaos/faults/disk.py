# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of disks and of source files."""

from __future__ import annotations

import os
import random
from pathlib import Path

from images.sizes import KIB

from .base import Fault, FaultContext


class RegistryDiskFull(Fault):
    """Disk full at the registry"""

    actions = ("push",)
    expected_error = "no space left|storage is full"

    def __init__(self, draw: random.Random) -> None:
        self.free = draw.choice([0, 40 * KIB, 300 * KIB])

    def inject(self, context: FaultContext) -> None:
        _fill(context.testbed.server_disk, self.free)

    def clear(self, context: FaultContext) -> None:
        (context.testbed.server_disk / "ballast").unlink()
        # The registry responds before the data is on disk, and loses an upload that it cannot finish.
        context.wasted += context.run.traffic.sent - context.run.traffic.interrupted


class ClientDiskFull(Fault):
    """Disk full at the client"""

    def __init__(self, draw: random.Random) -> None:
        self.free = draw.choice([0, 40 * KIB, 300 * KIB])

    def inject(self, context: FaultContext) -> None:
        # A push succeeds without its cache.
        self.expected_error = "" if context.sources else "No space left"
        _fill(context.testbed.client_disk, self.free)

    def clear(self, context: FaultContext) -> None:
        (context.testbed.client_disk / "ballast").unlink()
        # A pull deletes its partial files if the disk is full.
        context.wasted += context.run.traffic.received


class SourceChanged(Fault):
    """Source changed during the push"""

    actions = ("push",)
    expected_error = "damaged|truncated"

    def __init__(self, draw: random.Random) -> None:
        self.draw = random.Random(draw.random())  # noqa: S311 - nothing secret

    def inject(self, context: FaultContext) -> None:
        self.path = self.draw.choice(context.sources[0].files)
        self.before = self.path.read_bytes()
        # The registry rejects the blob at the end of the upload, and again if that upload was a resumed one.
        context.wasted += 2 * len(self.before)
        self.damage(self.draw.randrange(len(self.before)))

    def damage(self, position: int) -> None:
        """Overwrite bytes of the file."""
        with self.path.open("r+b") as file:
            file.seek(position)
            file.write(bytes(byte ^ 0xFF for byte in self.before[position : position + 100]))

    def clear(self, context: FaultContext) -> None:
        self.path.write_bytes(self.before)


class SourceTruncated(SourceChanged):
    """Source truncated during the push"""

    expected_error = "truncated|has [0-9]+ bytes, but should have|damaged"

    def damage(self, position: int) -> None:
        """Truncate the file."""
        os.truncate(self.path, position)


def _fill(disk: Path, free: int) -> None:
    """Fill a disk except for this number of bytes; concurrent writes may leave less."""
    if not disk.is_mount():
        raise RuntimeError(f"{disk} is not a mount point; the machine's own file system must not be filled")
    with (disk / "ballast").open("wb") as file:
        while True:
            available = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, available - free))
            except OSError:
                continue
            return
