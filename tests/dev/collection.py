# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the collection below ansible_collections/, where Ansible expects it, its tarball, and the installation."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .commands import BUILD, CHECKOUT, run

# Stages in the background use the copy in SOURCE_ROOT, the others the one in CLUSTER_SOURCE_ROOT: they run at the same
# time, and ansible-test writes into its copy. The tarball is installed in INSTALLED.
SOURCE_ROOT = BUILD / "source"
CLUSTER_SOURCE_ROOT = BUILD / "source-cluster"
INSTALLED = BUILD / "installed"
TARBALLS = BUILD / "tarballs"


def copy(root: Path = SOURCE_ROOT) -> Path:
    """Update a copy with all files of the checkout that git does not ignore, committed or not; return its path.

    Args:
        root: The folder for ansible_collections.
    """
    target = root / "ansible_collections/k8scr/core"
    # The list of copied files. Other files in the copy are caches and outputs of tools.
    copied = BUILD / f"{root.name}.txt"
    if not copied.exists():
        shutil.rmtree(root, ignore_errors=True)
    listing = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", capture=True)
    names = {name for name in listing.split("\0") if name and os.path.lexists(CHECKOUT / name)}
    before = set(copied.read_text().splitlines()) if copied.exists() else set()
    target.mkdir(parents=True, exist_ok=True)
    copied.write_text("\n".join(sorted(before | names)))
    for name in before - names:
        _delete(target / name, target)
    for name in names:
        _refresh(CHECKOUT / name, target / name, target)
    copied.write_text("\n".join(sorted(names)))
    return target


def install(programs: Path) -> Path:
    """Build the tarball from the copy and install it; return the path of the installation."""
    shutil.rmtree(TARBALLS, ignore_errors=True)
    galaxy = (programs / "ansible-galaxy", "collection")
    run(*galaxy, "build", copy(), "--output-path", TARBALLS, capture=True)
    (tarball,) = TARBALLS.glob("k8scr-core-*.tar.gz")
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(INSTALLED)}  # Without it, ansible-galaxy prints a warning.
    run(*galaxy, "install", tarball, "--collections-path", INSTALLED, "--force", capture=True, env=environment)
    return INSTALLED


def _refresh(source: Path, target: Path, root: Path) -> None:
    status = source.lstat()
    if os.path.lexists(target):
        copied = target.lstat()
        if (copied.st_mtime_ns, copied.st_size, copied.st_mode) == (status.st_mtime_ns, status.st_size, status.st_mode):
            return
        _delete(target, root)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def _delete(path: Path, root: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    # Python would import a folder without sources as an empty package.
    parent = path.parent
    while parent != root and parent.exists():
        if any(child.name != "__pycache__" for child in parent.iterdir()):
            break
        shutil.rmtree(parent)
        parent = parent.parent
