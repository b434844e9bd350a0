# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which image was pushed to which repositories before, so that its blobs are mounted from there and not sent again.

A file for each registry, in the user's cache folder. It is a hint: the registry is asked whether it has the blobs.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

_MOST_IMAGES = 1000
_MOST_REPOSITORIES = 4
"""Each costs a question for every blob that it does not have."""


class PushedImages:
    """What was pushed to one registry.

    Args:
        folder: Where the files are; it is made when there is something to remember.
        registry: Tells this registry from all others.
    """

    def __init__(self, folder: Path, registry: str) -> None:
        self._path = folder / hashlib.sha256(registry.encode()).hexdigest()
        self._repositories = _read(self._path)
        self._changed = False

    def repositories(self, digest: str) -> tuple[str, ...]:
        """The repositories that the image with this digest was pushed to, the last first."""
        return tuple(self._repositories.get(digest, ()))

    def remember(self, digest: str, repository: str) -> None:
        """Add a push."""
        before = self._repositories.pop(digest, [])
        now = [repository, *(other for other in before if other != repository)][:_MOST_REPOSITORIES]
        self._changed = self._changed or now != before
        self._repositories[digest] = now

    def save(self) -> None:
        """Keep it for the next run; what cannot be kept is no harm."""
        if not self._changed:
            return
        newest = dict(list(self._repositories.items())[-_MOST_IMAGES:])
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self._path.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(newest, file)
            Path(temporary).replace(self._path)
        except OSError:
            pass


def _read(path: Path) -> dict[str, list[str]]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {
        digest: repositories
        for digest, repositories in value.items()
        if isinstance(repositories, list) and all(isinstance(name, str) for name in repositories)
    }
