# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of disks, and of the files that a source consists of."""

from __future__ import annotations

import os
import random
from pathlib import Path

from .fault import Fault, Scene

KIB = 1 << 10


class RegistryDiskFull(Fault):
    """Disk full at the registry"""

    actions = ("push",)
    named = "no space left|storage is full"

    def __init__(self, draw: random.Random) -> None:
        self.left = draw.choice([0, 40 * KIB, 300 * KIB])

    def strike(self, scene: Scene) -> None:
        _fill(scene.world.server_disk, self.left)

    def mend(self, scene: Scene) -> None:
        (scene.world.server_disk / "ballast").unlink()
        # The registry answers for a request before all of it is on its disk, and loses an upload that it cannot end.
        scene.spoilt += scene.run.traffic.sent - scene.run.traffic.cut


class ClientDiskFull(Fault):
    """Disk full at the client"""

    def __init__(self, draw: random.Random) -> None:
        self.left = draw.choice([0, 40 * KIB, 300 * KIB])

    def strike(self, scene: Scene) -> None:
        # A push writes nothing that it could not do without.
        self.named = "" if scene.sources else "No space left|no space left|disk is full"
        _fill(scene.world.client_disk, self.left)

    def mend(self, scene: Scene) -> None:
        (scene.world.client_disk / "ballast").unlink()
        # A pull that finds no room leaves nothing, so that there is more.
        scene.spoilt += scene.run.traffic.received


class SourceChanged(Fault):
    """Source changed while it is read"""

    actions = ("push",)
    named = (
        "is not what its digest|damaged|does not have the digest|truncated|cannot be read|has changed|not the content"
    )

    def __init__(self, draw: random.Random) -> None:
        self.draw = random.Random(draw.random())  # noqa: S311 - nothing secret

    def strike(self, scene: Scene) -> None:
        self.path = self.draw.choice(scene.sources[0].files)
        self.before = self.path.read_bytes()
        # What is refused at its end was sent in vain, and once more where the session had a past.
        scene.spoilt += 2 * len(self.before)
        self.damage(self.draw.randrange(len(self.before)))

    def damage(self, position: int) -> None:
        """Change the file."""
        with self.path.open("r+b") as file:
            file.seek(position)
            file.write(bytes(byte ^ 0xFF for byte in self.before[position : position + 100]))

    def mend(self, scene: Scene) -> None:
        self.path.write_bytes(self.before)


class SourceTruncated(SourceChanged):
    """Source truncated while it is read"""

    named = "truncated|has [0-9]+ bytes, but should have|damaged"

    def damage(self, position: int) -> None:
        """Cut the file off."""
        os.truncate(self.path, position)


def _fill(disk: Path, left: int) -> None:
    """Leave a disk only so many bytes, or fewer where somebody else is writing."""
    if not disk.is_mount():
        raise RuntimeError(f"{disk} is no file system of its own, and this machine's is not to be filled")
    with (disk / "ballast").open("wb") as file:
        while True:
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, free - left))
            except OSError:
                continue
            return
