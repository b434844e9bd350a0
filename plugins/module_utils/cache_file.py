# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run remembers for the next ones, in a file in the user's cache folder: hints, which can be lost or wrong."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


class CacheFile:
    """Values by their keys, the newest of them.

    Args:
        path: The file; it and its folder are made when there is something to remember.
        most: How many values are kept.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._path = path
        self._most = most
        self._values = _read(path)
        self._changed = False

    def get(self, key: str) -> Any:
        """What has this key; ``None`` for nothing."""
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        """Have a value, which JSON can hold, as the newest."""
        before = self._values.pop(key, None)
        self._changed = self._changed or value != before
        self._values[key] = value

    def save(self) -> None:
        """Keep them for the next run; what cannot be kept is no harm."""
        if not self._changed:
            return
        newest = dict(list(self._values.items())[-self._most :])
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self._path.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(newest, file)
            Path(temporary).replace(self._path)
            self._changed = False
        except OSError:
            pass


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
