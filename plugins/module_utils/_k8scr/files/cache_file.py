# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cache files: hints for later runs, in the user's cache folder. They can be lost or wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import DestinationError
from .file_access import replace_file
from .locked_file import folder_lock


class CacheFile:
    """A JSON file with the most recent values, by key.

    Args:
        path: The file. Saving the first value creates it and its folder.
        limit: The maximum number of values.
        merge: Returns the value to save for the existing value or None, and the new value; by default the new value.
    """

    def __init__(
        self, path: Path, limit: int, merge: Callable[[Any, Any], Any] = lambda _existing, value: value
    ) -> None:
        self._path = path
        self._limit = limit
        self._merge = merge
        self._values = _read(path)
        self._added: list[tuple[str, Any]] = []
        self._changed = False

    def get(self, key: str) -> Any:
        """Return the value of a key, or ``None``."""
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        """Set a value, a JSON type, which becomes the newest."""
        existing = self._values.pop(key, None)
        self._values[key] = self._merge(existing, value)
        self._added.append((key, value))
        self._changed = self._changed or self._values[key] != existing

    def save(self) -> None:
        """Merge the added values into the file, which other runs may have changed. Errors are ignored."""
        if not self._changed:
            return
        with suppress(OSError, DestinationError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with folder_lock(self._path.parent):
                values = _read(self._path)
                for key, value in self._added:
                    values[key] = self._merge(values.pop(key, None), value)
                newest = dict(list(values.items())[-self._limit :])
                replace_file(self._path, json.dumps(newest).encode(), private=True)
            self._values = values
            self._added.clear()
            self._changed = False


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
