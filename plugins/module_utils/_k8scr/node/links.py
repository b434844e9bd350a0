# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Symbolic links in the place of configuration files: followed where the administrator made them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import SourceError

_MOST_LINKS = 40
"""As many as Linux follows."""


def real_path(path: Path) -> Path:
    """Return the path of the file itself; the same path where it is no symbolic link.

    Args:
        path: The path of a file, which need not exist.

    Raises:
        SourceError: A link leads nowhere, in a circle, or was made by another user.
    """
    place = path
    for _attempt in range(_MOST_LINKS):
        if not place.is_symlink():
            break
        _check_owner(place)
        place = place.parent / place.readlink()
    else:
        raise SourceError(f"{path} is a symbolic link that leads in a circle", "Delete it")
    if place != path and not place.is_file():
        raise SourceError(
            f"{path} is a symbolic link to {place}, which is not a file", "Delete the link, or create its target"
        )
    return place


def _check_owner(link: Path) -> None:
    """Follow a link only if it is root's or this user's, in a folder that other users cannot change."""
    folder = link.parent.stat()
    owners = {link.lstat().st_uid, folder.st_uid}
    if owners - {0, os.geteuid()} or folder.st_mode & stat.S_IWOTH:
        raise SourceError(
            f"{link} is a symbolic link that another user could have made, and is not followed",
            f"Make root the only user who can write to {link.parent}",
        )
