# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the collection below ansible_collections/, where Ansible expects it, its tarball, and the installation."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .commands import BUILD, CHECKOUT, run

# Tests import the collection from SOURCE_ROOT; the tarball is installed in INSTALLED.
SOURCE_ROOT = BUILD / "source"
COPY = SOURCE_ROOT / "ansible_collections/k8scr/core"
INSTALLED = BUILD / "installed"
TARBALLS = BUILD / "tarballs"

# The list of copied files. Other files in the copy are caches and outputs of tools.
COPIED = BUILD / "copied.txt"


def copy() -> Path:
    """Update the copy with all files of the checkout that git does not ignore, committed or not; return its path."""
    listing = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", capture=True)
    names = {name for name in listing.split("\0") if name and os.path.lexists(CHECKOUT / name)}
    before = set(COPIED.read_text().splitlines()) if COPIED.exists() else set()
    COPY.mkdir(parents=True, exist_ok=True)
    COPIED.write_text("\n".join(sorted(before | names)))
    for name in before - names:
        _delete(COPY / name)
    for name in names:
        _refresh(CHECKOUT / name, COPY / name)
    COPIED.write_text("\n".join(sorted(names)))
    return COPY


def install(programs: Path) -> Path:
    """Build the tarball from the copy and install it; return the path of the installation."""
    shutil.rmtree(TARBALLS, ignore_errors=True)
    galaxy = (programs / "ansible-galaxy", "collection")
    run(*galaxy, "build", copy(), "--output-path", TARBALLS, capture=True)
    (tarball,) = TARBALLS.glob("k8scr-core-*.tar.gz")
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(INSTALLED)}  # Without it, ansible-galaxy prints a warning.
    run(*galaxy, "install", tarball, "--collections-path", INSTALLED, "--force", capture=True, env=environment)
    return INSTALLED


def _refresh(source: Path, target: Path) -> None:
    status = source.lstat()
    if os.path.lexists(target):
        copied = target.lstat()
        if (copied.st_mtime_ns, copied.st_size, copied.st_mode) == (status.st_mtime_ns, status.st_size, status.st_mode):
            return
        _delete(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    # Python would import a folder without sources as an empty package.
    parent = path.parent
    while parent != COPY and parent.exists():
        if any(child.name != "__pycache__" for child in parent.iterdir()):
            break
        shutil.rmtree(parent)
        parent = parent.parent
