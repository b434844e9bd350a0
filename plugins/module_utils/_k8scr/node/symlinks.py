# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Symbolic links to configuration files, which are followed if administrators created them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import SourceError

_MAX_LINKS = 40
"""The limit of Linux."""


def resolve_symlinks(path: Path) -> Path:
    """Return the path of the file that a path leads to.

    Args:
        path: The path of a file, which may be missing.

    Raises:
        SourceError: A link is dangling, part of a loop, or may have been created by another user.
    """
    target = path
    for _attempt in range(_MAX_LINKS):
        if not target.is_symlink():
            break
        _check_owner(target)
        target = target.parent / target.readlink()
    else:
        raise SourceError(f"{path} is a symbolic link in a loop of links", "Delete it")
    if target != path and not target.is_file():
        raise SourceError(
            f"{path} is a symbolic link to {target}, which is not a file", "Delete the link, or create its target"
        )
    return target


def _check_owner(link: Path) -> None:
    """Check that root or this user created a link, in a folder that is not writable for other users."""
    folder = link.parent.stat()
    owners = {link.lstat().st_uid, folder.st_uid}
    if owners - {0, os.geteuid()} or folder.st_mode & stat.S_IWOTH:
        raise SourceError(
            f"{link} is not followed: other users may have created this symbolic link",
            f"Allow only root to write to {link.parent}",
        )
