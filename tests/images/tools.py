# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Installs and runs the programs that make the images."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster import packages
from cluster.errors import ClusterError

# debootstrap is in sbin, which is not in the PATH of every root shell.
ENVIRONMENT = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin", "LC_ALL": "C"}

# Run a tool in its own mount and PID namespaces, and kill it with this process. Its mounts and processes then never
# outlive it: no bind mount of Podman, no /proc in an incomplete root filesystem.
ISOLATED = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
)

CLUSTER = Path(__file__).resolve().parent.parent / "cluster"


class Failed(Exception):
    """An image cannot be made; the message is one line with the reason or the solution."""


def run(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    prefix: Sequence[str] = (),
) -> str:
    """Run a program and return its output.

    Raises:
        Failed: The program is missing, or its exit status is not 0.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            [*prefix, *words],
            env={**ENVIRONMENT, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise Failed(f"{error.filename} was not found: install it") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise Failed(f"`{shlex.join(words)}` failed with status {done.returncode}: {last}")
    return done.stdout


def run_isolated(*command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program in its own mount and PID namespaces, for programs that mount or start others."""
    return run(*command, env=env, prefix=ISOLATED)


def missing(programs: Sequence[str]) -> list[str]:
    """Return the programs that this machine does not have."""
    return [program for program in programs if shutil.which(program, path=ENVIRONMENT["PATH"]) is None]


def require(*programs: str) -> None:
    """Install missing programs that are in the list of packages.

    Raises:
        Failed: Programs are still missing.
    """
    try:
        packages.ensure({program: packages.IMAGES[program] for program in programs if program in packages.IMAGES})
    except ClusterError as error:
        raise Failed(str(error)) from error
    absent = missing(programs)
    if absent:
        raise Failed(f"missing programs, install them: {', '.join(absent)}")


def cluster_program(name: str) -> Path:
    """Return the path of a program of the test cluster, such as `registry` or `crane`, building it if necessary."""
    printed = run(sys.executable, CLUSTER, "programs", name).split()
    if not printed:
        raise Failed(f"tests/cluster has no program named {name}")
    return Path(printed[-1])


class Umoci:
    """An image in an OCI layout, made layer by layer from a root filesystem."""

    def __init__(self, layout: Path, tag: str, bundle: Path) -> None:
        require("umoci")
        self.image = f"{layout}:{tag}"
        self.layout = layout
        self.bundle = bundle
        self.rootfs = bundle / "rootfs"
        if not layout.exists():
            run("umoci", "init", "--layout", layout)
        run("umoci", "new", "--image", self.image)

    def unpack(self) -> None:
        """Unpack the root filesystem to `rootfs`, where it can be changed."""
        run("umoci", "unpack", "--image", self.image, self.bundle)

    def commit(self, reason: str) -> None:
        """Add the changes in the root filesystem as a layer."""
        run("umoci", "repack", "--refresh-bundle", "--history.created_by", reason, "--image", self.image, self.bundle)

    def insert(self, source: Path, target: str) -> None:
        """Add a file or folder as a layer, without unpacking a root filesystem."""
        run("umoci", "insert", "--image", self.image, source, target)

    def finish(self, *settings: str) -> None:
        """Set the image's configuration, and delete blobs that are no longer used."""
        run("umoci", "config", "--no-history", *settings, "--image", self.image)
        run("umoci", "gc", "--layout", self.layout)


class Podman:
    """Podman with separate storage and configuration: the user's are neither read nor changed."""

    # The run root is in a temporary /run that ends with the command. In the cache, its path would be longer than
    # the 50 characters that Podman allows.
    START = 'mount -t tmpfs tmpfs /run && exec podman "$@"'

    def __init__(self, folder: Path) -> None:
        require("podman")
        self._root = folder / "root"
        self._configuration = folder / "containers.conf"
        folder.mkdir()
        self._configuration.write_text(
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nlock_type = "file"\n'
        )

    def __call__(self, *arguments: str | Path) -> str:
        """Run a Podman command and return its output."""
        return run_isolated(
            *("sh", "-c", self.START, "podman"),
            *("--root", self._root, "--runroot", "/run/podman", "--storage-driver", "overlay"),
            *arguments,
            env={"CONTAINERS_CONF": str(self._configuration)},
        )


def skopeo(*arguments: str | Path) -> str:
    """Run skopeo without the machine's signature policy, and return its output."""
    require("skopeo")
    return run("skopeo", "--insecure-policy", *arguments)
