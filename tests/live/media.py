# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Media with volumes of bundles: DVDs and USB sticks, mounted read-only by FUSE, which needs no kernel module."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from cluster import packages

_FAT_SIZE = 64 << 20
"""Bytes; FAT32 needs more than 32 MiB."""


def _run(*command: str | Path) -> None:
    subprocess.run([*map(str, command)], check=True, capture_output=True)


@contextmanager
def dvd(volume: Path, mounted: Path) -> Iterator[Path]:
    """Write a folder to an ISO 9660 image with Joliet and Rock Ridge, and mount it."""
    mounted.mkdir(parents=True)
    image = mounted.with_suffix(".iso")
    _run("xorriso", "-as", "mkisofs", "-quiet", "-J", "-joliet-long", "-R", "-o", image, volume)
    with _mounted(["fuseiso", image], mounted):
        yield mounted


@contextmanager
def usb_stick(volume: Path, mounted: Path) -> Iterator[Path]:
    """Copy the files of a folder to a FAT32 file system, and mount it."""
    mounted.mkdir(parents=True)
    image = mounted.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(_FAT_SIZE)
    _run(packages.path_of("mkfs.vfat"), "-F", "32", image)
    _run("mcopy", "-s", "-i", image, *volume.iterdir(), "::")
    with _mounted(["fusefat", "-o", "ro", image], mounted):
        yield mounted


Medium = Callable[[Path, Path], AbstractContextManager[Path]]
"""Writes a folder to a medium, and mounts it at a path."""


@contextmanager
def _mounted(command: Sequence[str | Path], folder: Path) -> Iterator[None]:
    _run(*command, folder)
    try:
        yield
    finally:
        # A file system is busy for a moment after the last process closed its files.
        _run("fusermount", "-u", "-z", folder)
