# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian packages of the cluster, the images and the tests: the only list, and the only installer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from .components import SYSTEM_PATH
from .errors import ClusterError, log

CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")

# Packages by one of their commands; a package is installed if its command exists.
CLUSTER = {
    "busybox": "busybox-static",
    "host-local": "containernetworking-plugins",
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "runc": "runc",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
}
IMAGES = {
    "debootstrap": "debootstrap",
    "podman": "podman",
    "skopeo": "skopeo",
    "umoci": "umoci",
}
TESTS = {
    "containerd": "containerd",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "fusefat": "fusefat",
    "fuseiso": "fuseiso",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "setfacl": "acl",
    "xorriso": "xorriso",
    "zstd": "zstd",
}
ALL = {**CLUSTER, **IMAGES, **TESTS}
NEWER = {
    "cosign": "usr/bin/cosign",
    "docker.io": "usr/sbin/dockerd",
}
"""Packages of a newer Debian release that are unpacked in the cache, and the program in each; see newer_debian."""
PYTHON = "python{version}-venv"
"""The package of a Python for the virtual environment, if the machine has no supported Python."""

# Tools of the machine, such as git and curl, need these packages.
_NEVER_REMOVED = {"iproute2", "openssh-client", "openssl", "util-linux"}
_PATH = os.pathsep.join((SYSTEM_PATH, *CNI_FOLDERS))
_WAIT_FOR_OTHERS = ("-o", "DPkg::Lock::Timeout=120")


def path_of(command: str) -> Path:
    """Return the path of an installed command.

    Raises:
        ClusterError: It is not installed.
    """
    if (found := shutil.which(command, path=_PATH)) is None:
        raise ClusterError(f"missing on this machine, install: {ALL[command]}")
    return Path(found)


def missing(packages: Mapping[str, str]) -> list[str]:
    """Return the packages that are not installed, of a section of the list."""
    return [package for command, package in packages.items() if shutil.which(command, path=_PATH) is None]


def ensure(packages: Mapping[str, str]) -> None:
    """Install the missing packages of a section of the list.

    Raises:
        ClusterError: Packages are still missing.
    """
    absent = missing(packages)
    if absent:
        install(absent)
        absent = missing(packages)
    if absent:
        raise ClusterError(f"missing on this machine, install: {' '.join(absent)}")


def install(packages: Iterable[str]) -> None:
    """Install packages with apt-get, if the machine has it; a failure is reported, but not raised."""
    if not _may_change_packages():
        return
    packages = list(packages)
    log(f"installing with apt-get: {' '.join(packages)}")
    command = ("install", "-y", "-q", "--no-install-recommends", *packages)
    result = _apt_get(*command)
    if result.returncode:
        # The package lists may be missing or outdated.
        _apt_get("update", "-q")
        result = _apt_get(*command)
    if result.returncode:
        last_lines = (result.stderr or result.stdout).strip().splitlines()[-3:]
        log("apt-get failed: " + " ".join(last_lines))


def is_offered(package: str) -> bool:
    """Return whether the package can be installed on this machine."""
    command = ["apt-cache", "show", package]
    return _may_change_packages() and subprocess.run(command, capture_output=True, check=False).returncode == 0


def mirrors(*criteria: str) -> list[str]:
    """Return the addresses of the machine's Debian mirrors.

    Args:
        criteria: Conditions as ``apt-get indextargets`` understands them, such as ``Codename: bookworm``.
    """
    if shutil.which("apt-get") is None:
        return []
    wanted = ("Component: main", "Created-By: Packages", *criteria)
    return _output("apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted)


def remove() -> None:
    """Remove the packages that only the tests need, in CI, so that a missing install step fails.

    A package is kept if one of its programs is running or another package depends on it.
    """
    if not os.environ.get("CI") or not _may_change_packages():
        log("no packages removed: they are removed only in CI, as root")
        return
    unneeded = _removable()
    if unneeded:
        log(f"removing with apt-get: {' '.join(unneeded)}")
        result = _apt_get("remove", "-y", "-q", *unneeded)
        if result.returncode:
            raise ClusterError(f"apt-get cannot remove {' '.join(unneeded)}: {result.stderr.strip()}")


def _removable() -> list[str]:
    """Return the installed packages of the list that no other package or running process uses."""
    running = _running_programs()
    candidates = {
        package
        for package in _installed() & set(ALL.values()) - _NEVER_REMOVED
        if not running.intersection(_output("dpkg-query", "--listfiles", package))
    }
    # Try all at once first: apt-get then does not install a package in place of another one of the list.
    if _changes_of_removing(*candidates) <= candidates:
        return sorted(candidates)
    return sorted(package for package in candidates if _changes_of_removing(package) <= candidates)


def _installed() -> set[str]:
    words = _output("dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\\n")
    return {package for status, package in zip(words[::2], words[1::2]) if status == "installed"}


def _changes_of_removing(*packages: str) -> set[str]:
    """Return the packages that apt-get would remove, or install instead, if the packages were removed."""
    result = _apt_get("remove", "--simulate", *packages)
    if result.returncode:
        raise ClusterError(f"apt-get cannot plan the removal of {' '.join(packages)}: {result.stderr.strip()}")
    return set(re.findall(r"^(?:Remv|Purg|Inst) ([^ :]+)", result.stdout, re.MULTILINE))


def _running_programs() -> set[str]:
    programs = set()
    for link in Path("/proc").glob("[0-9]*/exe"):
        try:
            programs.add(str(link.readlink()))
        except OSError:  # The process ended, or belongs to the kernel.
            continue
    return programs


def _may_change_packages() -> bool:
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def _apt_get(*words: str) -> subprocess.CompletedProcess[str]:
    # RUNLEVEL keeps the packages' scripts from starting services.
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = ["apt-get", *_WAIT_FOR_OTHERS, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _output(*command: str) -> list[str]:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
