# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Docker archive with two images that share layers."""

from __future__ import annotations

from pathlib import Path

from ..tools import Podman
from . import busybox

SUMMARY = "two images on one base, saved into one Docker archive by Podman"
SOURCES = [Path(busybox.__file__)]
BASE = "localhost/team/base:1.0"
TAGS = ("localhost/team/api:1.0", "localhost/team/web:2.1")


def make(folder: Path, scratch: Path) -> None:
    """Build the images and save them together."""
    context = scratch / "context"
    busybox.fill(context / "rootfs")
    (context / "base").write_text('FROM scratch\nCOPY rootfs /\nCMD ["sh"]\n')
    podman = Podman(scratch / "podman")
    podman("build", "--tag", BASE, "--file", context / "base", context)
    for tag in TAGS:
        own = context / "own"
        own.write_text(f"the files of {tag}\n")
        own.with_suffix(".containerfile").write_text(f"FROM {BASE}\nCOPY own /srv/own\nLABEL made.for={tag}\n")
        podman("build", "--pull-never", "--tag", tag, "--file", own.with_suffix(".containerfile"), context)
    podman("save", "--multi-image-archive", "--output", folder / "docker-archive.tar", *TAGS)
