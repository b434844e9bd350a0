# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Debian image, for its size and for all kinds of files in a real root filesystem."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cluster import packages

from ..tools import Podman, Umoci, require, run_isolated, skopeo

SUMMARY = "a Debian root filesystem and three changes to it, with debootstrap (about a minute)"
SUITE = "bookworm"
TAG = f"docker.io/library/debian:{SUITE}"
PACKAGES = ("ca-certificates", "curl")
ENTER = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'


def make(folder: Path, scratch: Path) -> None:
    """Make an OCI layout and an OCI archive with compressed layers, and a Docker archive with uncompressed ones."""
    require("debootstrap", "umoci", "skopeo", "podman")
    image = Umoci(folder / "layout", TAG, scratch / "bundle")
    image.unpack()

    run_isolated("debootstrap", "--variant=minbase", SUITE, image.rootfs, *_mirror())
    _empty(image.rootfs / "dev")
    _delete_package_caches(image.rootfs)
    image.commit("debootstrap")

    _inside(image.rootfs, "apt-get", "-q", "update")
    _inside(image.rootfs, "apt-get", "-q", "-y", "install", "--no-install-recommends", *PACKAGES)
    _delete_package_caches(image.rootfs)
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
    # The mirror of this machine's packages, if it runs the same Debian release.
    return packages.mirrors(f"Codename: {SUITE}")[:1]


def _inside(rootfs: Path, *command: str) -> None:
    run_isolated("sh", "-c", ENTER, rootfs, *command, env={"DEBIAN_FRONTEND": "noninteractive"})


def _delete_package_caches(rootfs: Path) -> None:
    _inside(rootfs, "apt-get", "clean")
    _empty(rootfs / "var/lib/apt/lists")


def _slim(rootfs: Path) -> None:
    # Delete whole folders and single files, for both kinds of whiteouts.
    for folder in ("usr/share/locale", "usr/share/info"):
        shutil.rmtree(rootfs / folder, ignore_errors=True)
    for changelog in (rootfs / "usr/share/doc").glob("*/changelog*"):
        changelog.unlink()


def _change(rootfs: Path) -> None:
    # Tar implementations differ in both kinds of links, in modes and owners, and in long and non-ASCII names.
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
    # A folder that is replaced, and a file that is replaced by a folder.
    shutil.rmtree(rootfs / "usr/share/doc/curl")
    (rootfs / "usr/share/doc/curl").mkdir()
    (rootfs / "usr/share/doc/curl/README").write_text("see https://curl.se/\n")
    (rootfs / "etc/debian_version").unlink()
    (rootfs / "etc/debian_version").mkdir()


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
