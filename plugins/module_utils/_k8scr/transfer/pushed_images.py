# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which image was pushed to which repositories before, so that its blobs are mounted from there and not sent again.

A file for each registry. It is a hint: the registry is asked whether it has the blobs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..files.cache_file import CacheFile

_MOST_IMAGES = 1000
_MOST_REPOSITORIES = 4
"""Each costs a question for every blob that it does not have."""


class PushedImages:
    """What was pushed to one registry.

    Args:
        folder: Where the files are.
        registry: Tells this registry from all others.
    """

    def __init__(self, folder: Path, registry: str) -> None:
        self._file = CacheFile(folder / hashlib.sha256(registry.encode()).hexdigest(), _MOST_IMAGES)

    def repositories(self, digest: str) -> tuple[str, ...]:
        """The repositories that the image with this digest was pushed to, the last first."""
        return _repositories(self._file.get(digest))

    def remember(self, digest: str, repository: str) -> None:
        """Add a push."""

        def add(known: Any) -> list[str]:
            others = [other for other in _repositories(known) if other != repository]
            return [repository, *others][:_MOST_REPOSITORIES]

        self._file.change(digest, add)

    def save(self) -> None:
        """Keep it for the next run."""
        self._file.save()


def _repositories(known: Any) -> tuple[str, ...]:
    return tuple(name for name in known if isinstance(name, str)) if isinstance(known, list) else ()
