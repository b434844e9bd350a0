# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The repositories to which earlier runs pushed an image, so that its blobs can be mounted from there.

There is a cache file for each registry. Its content is only a hint: each run looks up the blobs in the registry.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..files.cache_file import CacheFile

_MOST_IMAGES = 1000
_MOST_REPOSITORIES = 4
"""Each repository costs a request for every blob that it does not have."""


class PushedImages:
    """The images that earlier runs pushed to one registry.

    Args:
        folder: The folder of the cache files.
        registry: The identity of the registry.
    """

    def __init__(self, folder: Path, registry: str) -> None:
        self._file = CacheFile(folder / hashlib.sha256(registry.encode()).hexdigest(), _MOST_IMAGES, _merged)

    def repositories(self, digest: str) -> tuple[str, ...]:
        """Return the repositories to which the image with this digest was pushed, the latest first."""
        return _repositories(self._file.get(digest))

    def remember(self, digest: str, repository: str) -> None:
        """Add the repository of a pushed image."""
        self._file.put(digest, [repository])

    def save(self) -> None:
        """Save the pushes for the next run."""
        self._file.save()


def _merged(known: Any, added: list[str]) -> list[str]:
    return list(dict.fromkeys((*added, *_repositories(known))))[:_MOST_REPOSITORIES]


def _repositories(known: Any) -> tuple[str, ...]:
    return tuple(name for name in known if isinstance(name, str)) if isinstance(known, list) else ()
