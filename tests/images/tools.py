# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs that make the images: finding, installing and running them."""

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

# debootstrap is in sbin, which not every root shell searches.
ENVIRONMENT = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin", "LC_ALL": "C"}

# Mounts and processes of a tool live in namespaces of their own and die with us, so that nothing is
# left behind whatever happens: no bind mount of Podman's, no /proc in a half-made root filesystem.
PRIVATE = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
)

CLUSTER = Path(__file__).resolve().parent.parent / "cluster"


class Failed(Exception):
    """An image cannot be made; the message is one line that says what to do or what went wrong."""


def say(line: str) -> None:
    """Tell the user something; stdout is for what was asked for."""
    print(line, file=sys.stderr, flush=True)


def run(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    prefix: Sequence[str] = (),
) -> str:
    """Run a program to its end and return what it printed."""
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
        raise Failed(f"{error.filename} is needed and was not found: please install it") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise Failed(f"`{shlex.join(words)}` ended with {done.returncode}: {last}")
    return done.stdout


def run_private(*command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program that mounts or starts others, in namespaces of its own."""
    return run(*command, env=env, prefix=PRIVATE)


def missing(programs: Sequence[str]) -> list[str]:
    """Those of the programs that this machine does not have."""
    return [program for program in programs if shutil.which(program, path=ENVIRONMENT["PATH"]) is None]


def require(*programs: str) -> None:
    """Have the programs; those in the list of packages are installed.

    Raises:
        Failed: Some are missing.
    """
    try:
        packages.ensure({program: packages.IMAGES[program] for program in programs if program in packages.IMAGES})
    except ClusterError as error:
        raise Failed(str(error)) from error
    absent = missing(programs)
    if absent:
        raise Failed(f"missing programs, please install them: {', '.join(absent)}")


def cluster_program(name: str) -> Path:
    """The path of a program that the test cluster knows how to get, such as `registry` or `crane`."""
    printed = run(sys.executable, CLUSTER, "programs", name).split()
    if not printed:
        raise Failed(f"tests/cluster has no program named {name}")
    return Path(printed[-1])


class Umoci:
    """An image in an OCI layout that is made layer by layer from a root filesystem."""

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
        """Lay the root filesystem out, to be changed under `rootfs`."""
        run("umoci", "unpack", "--image", self.image, self.bundle)

    def commit(self, reason: str) -> None:
        """What was changed in the root filesystem becomes a layer."""
        run("umoci", "repack", "--refresh-bundle", "--history.created_by", reason, "--image", self.image, self.bundle)

    def insert(self, source: Path, target: str) -> None:
        """One file or folder becomes a layer, without a root filesystem at hand."""
        run("umoci", "insert", "--image", self.image, source, target)

    def finish(self, *settings: str) -> None:
        """Set the image's configuration, and drop what only the steps before the last needed."""
        run("umoci", "config", "--no-history", *settings, "--image", self.image)
        run("umoci", "gc", "--layout", self.layout)


class Podman:
    """A Podman of our own: nothing of the user's is read or changed, and no container runs in it."""

    # Its state of the moment is in /run, where it gets an empty one that ends with the command; in
    # the cache its path would be longer than the 50 characters that Podman allows.
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
        """Run one command of Podman's and return what it printed."""
        return run_private(
            *("sh", "-c", self.START, "podman"),
            *("--root", self._root, "--runroot", "/run/podman", "--storage-driver", "overlay"),
            *arguments,
            env={"CONTAINERS_CONF": str(self._configuration)},
        )


def skopeo(*arguments: str | Path) -> str:
    """Run skopeo whatever signature policy the machine has, or lacks."""
    require("skopeo")
    return run("skopeo", "--insecure-policy", *arguments)
