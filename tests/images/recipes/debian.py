# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Debian, for its size and for everything that real root filesystems hold."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cluster import packages

from ..tools import Podman, Umoci, require, run_private, skopeo

SUMMARY = "a Debian root filesystem and three changes to it, with debootstrap (about a minute)"
SUITE = "bookworm"
TAG = f"docker.io/library/debian:{SUITE}"
PACKAGES = ("ca-certificates", "curl")
ENTER = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'


def make(folder: Path, scratch: Path) -> None:
    """Make the image as layout and OCI archive with compressed layers, and as Podman's archive without."""
    require("debootstrap", "umoci", "skopeo", "podman")
    image = Umoci(folder / "layout", TAG, scratch / "bundle")
    image.unpack()

    run_private("debootstrap", "--variant=minbase", SUITE, image.rootfs, *_mirror())
    _empty(image.rootfs / "dev")
    _forget_packages(image.rootfs)
    image.commit("debootstrap")

    _inside(image.rootfs, "apt-get", "-q", "update")
    _inside(image.rootfs, "apt-get", "-q", "-y", "install", "--no-install-recommends", *PACKAGES)
    _forget_packages(image.rootfs)
    image.commit("apt-get install")

    _slim(image.rootfs)
    image.commit("slim")

    _change(image.rootfs)
    image.commit("changes")
    image.finish("--config.cmd", "bash", "--config.env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")

    archive = folder / "oci-archive.tar"
    skopeo("copy", f"oci:{image.layout}:{TAG}", f"oci-archive:{archive}:{TAG}")
    podman = Podman(scratch / "podman")
    podman("load", "--input", archive)
    podman("save", "--format", "docker-archive", "--output", folder / "docker-archive.tar", TAG)


def _mirror() -> list[str]:
    # The one that this machine's own packages come from, if it is a Debian of the same release.
    return packages.mirrors(f"Codename: {SUITE}")[:1]


def _inside(rootfs: Path, *command: str) -> None:
    run_private("sh", "-c", ENTER, rootfs, *command, env={"DEBIAN_FRONTEND": "noninteractive"})


def _forget_packages(rootfs: Path) -> None:
    _inside(rootfs, "apt-get", "clean")
    _empty(rootfs / "var/lib/apt/lists")


def _slim(rootfs: Path) -> None:
    # Whole folders and single files go: whiteouts of both kinds.
    for folder in ("usr/share/locale", "usr/share/info"):
        shutil.rmtree(rootfs / folder, ignore_errors=True)
    for copyright_file in (rootfs / "usr/share/doc").glob("*/changelog*"):
        copyright_file.unlink()


def _change(rootfs: Path) -> None:
    # What differs between tar implementations: links of both kinds, modes, owners, long and foreign names.
    (rootfs / "etc/motd").write_text("Delivered through the API server.\n")
    (rootfs / "etc/issue").unlink()
    application = rootfs / "opt/application"
    application.mkdir()
    program = application / "program"
    program.write_text("#!/bin/sh\nexec sleep infinity\n")
    program.chmod(0o4755)
    os.link(program, application / "same-program")
    (application / "current").symlink_to("program")
    (application / "Größe-数据").write_text("a name that is not ASCII\n")
    (application / ("long-" * 45)).write_text("a name longer than a tar header has room for\n")
    os.chown(application, 1000, 1000)
    # A folder made anew, and a file replaced by a folder.
    shutil.rmtree(rootfs / "usr/share/doc/curl")
    (rootfs / "usr/share/doc/curl").mkdir()
    (rootfs / "usr/share/doc/curl/README").write_text("see https://curl.se/\n")
    (rootfs / "etc/debian_version").unlink()
    (rootfs / "etc/debian_version").mkdir()


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
