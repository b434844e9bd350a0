# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of a newer Debian release, unpacked in the cache without an installation."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from . import layout, packages
from .errors import ClusterError

RELEASE = "trixie"
_FOLDER = layout.CACHE / "debian" / RELEASE
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def program(package: str) -> Path:
    """Return the path of a fetched package's program; its dependencies must be installed on this machine.

    Args:
        package: A name of :data:`packages.NEWER`.

    Raises:
        ClusterError: The package was not fetched.
    """
    path = _FOLDER / package / packages.NEWER[package]
    if not path.exists():
        raise ClusterError(f"{package} of Debian {RELEASE} was not fetched: run `make packages`")
    return path


def ensure(names: Iterable[str]) -> None:
    """Fetch the packages that are missing in the cache."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    for package in names:
        if (_FOLDER / package).exists():
            continue
        with tempfile.TemporaryDirectory(dir=_FOLDER) as scratch:
            fetched = _fetch(package, Path(scratch))
            try:
                fetched.rename(_FOLDER / package)
            except OSError:
                # Another run may have fetched the package in the meantime.
                if not (_FOLDER / package).exists():
                    raise


def _fetch(package: str, folder: Path) -> Path:
    """Fetch and unpack a package in an empty folder, which also has apt-get's package lists of the release."""
    for name in ("lists/partial", "archives/partial", "package"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {_mirror()} {RELEASE} main\n")
    directories = {
        "State::lists": folder / "lists",
        "State::status": folder / "status",
        "Cache": folder,
        "Cache::archives": folder / "archives",
        "Etc::sourcelist": folder / "sources.list",
        "Etc::sourceparts": "-",
    }
    options = ["-q", "-o", "APT::Sandbox::User=root"]
    for directory, value in directories.items():
        options += ["-o", f"Dir::{directory}={value}"]
    for command in (["update"], ["download", package]):
        subprocess.run(["apt-get", *options, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, folder / "package"], check=True)
    return folder / "package"


def _mirror() -> str:
    criteria = ("Origin: Debian", "Label: Debian")
    if not (found := packages.mirrors(*criteria)):
        # apt-get lists no addresses until the package lists were fetched.
        subprocess.run(["apt-get", "-q", "update"], check=True, stdout=subprocess.DEVNULL)
        found = packages.mirrors(*criteria)
    if not found:
        raise ClusterError(f"cannot fetch packages of Debian {RELEASE}: apt-get has no Debian mirror configured")
    return found[0]
