# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of a newer Debian than this machine's, beside its own: nothing of them is installed."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from cluster import layout

RELEASE = "trixie"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def program(package: str, path: str) -> Path:
    """A program out of a package, which is fetched once; what it depends on must be on this machine.

    Args:
        package: The package's name.
        path: The program's path in the package.
    """
    unpacked = layout.CACHE / "debian" / RELEASE / package
    if not unpacked.exists():
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=unpacked.parent) as scratch:
            fetched = _fetch(package, Path(scratch))
            try:
                fetched.rename(unpacked)
            except OSError:
                # Unless another run was first.
                if not unpacked.exists():
                    raise
    return unpacked / path


def _fetch(package: str, folder: Path) -> Path:
    """Fetch and unpack a package in an empty folder, with what apt-get knows about the release beside it."""
    for name in ("lists/partial", "archives/partial", "package"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {_mirror()} {RELEASE} main\n")
    places = {
        "State::lists": folder / "lists",
        "State::status": folder / "status",
        "Cache": folder,
        "Cache::archives": folder / "archives",
        "Etc::sourcelist": folder / "sources.list",
        "Etc::sourceparts": "-",
    }
    options = ["-q", "-o", "APT::Sandbox::User=root"]
    for place, value in places.items():
        options += ["-o", f"Dir::{place}={value}"]
    for command in (["update"], ["download", package]):
        subprocess.run(["apt-get", *options, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, folder / "package"], check=True)
    return folder / "package"


def _mirror() -> str:
    """Where this machine's own packages of Debian come from."""
    wanted = ("Origin: Debian", "Label: Debian", "Component: main", "Created-By: Packages")
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted]
    if not (found := _printed(command)):
        # Of a machine whose lists of packages were never fetched nothing is told.
        subprocess.run(["apt-get", "-q", "update"], check=True, stdout=subprocess.DEVNULL)
        found = _printed(command)
    return found[0]


def _printed(command: list[str]) -> list[str]:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
