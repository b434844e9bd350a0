# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""BusyBox, a small image with a shell for Pods."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..tools import ENVIRONMENT, Umoci, require, run, skopeo

SUMMARY = "Debian's static BusyBox with its applets, one small layer"
TAG = "docker.io/library/busybox:1.36"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def make(folder: Path, scratch: Path) -> None:
    """Make the image as an OCI layout, an OCI archive and a Docker archive."""
    image = Umoci(folder / "layout", TAG, scratch / "bundle")
    image.unpack()
    fill(image.rootfs)
    image.commit("the binary and its applets")
    image.finish("--config.cmd", "sh", "--config.env", PATH)

    layout = f"oci:{folder / 'layout'}:{TAG}"
    skopeo("copy", layout, f"oci-archive:{folder / 'oci-archive.tar'}:{TAG}")
    skopeo("copy", layout, f"docker-archive:{folder / 'docker-archive.tar'}:{TAG}")


def fill(rootfs: Path) -> None:
    """Write BusyBox, its applets and the basic folders and files to a root filesystem."""
    binary = rootfs / "bin" / "busybox"
    binary.parent.mkdir(parents=True)
    shutil.copy2(static_binary(), binary)
    for applet in run(binary, "--list").split():
        if applet != "busybox":
            (binary.parent / applet).symlink_to("busybox")
    for directory, mode in (("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)):
        (rootfs / directory).mkdir()
        (rootfs / directory).chmod(mode)
    (rootfs / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (rootfs / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")


def static_binary() -> Path:
    """Return the machine's BusyBox; Debian's version is a little older than the image's tag 1.36."""
    require("busybox")
    return Path(str(shutil.which("busybox", path=ENVIRONMENT["PATH"])))
