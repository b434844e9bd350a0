# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run remembers for the next ones, in a file in the user's cache folder: hints, which can be lost or wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import DestinationError
from .file_access import alone_in, replace_file


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
        self._changes: list[tuple[str, Callable[[Any], Any]]] = []
        self._changed = False

    def get(self, key: str) -> Any:
        """What has this key; ``None`` for nothing."""
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        """Have a value, which JSON can hold, as the newest."""
        self.change(key, lambda _before: value)

    def change(self, key: str, change: Callable[[Any], Any]) -> None:
        """Replace a value, which becomes the newest.

        Args:
            key: The key of the value.
            change: Returns the new value, which JSON can hold, for the existing value or None. It is called again on
                save, with the value that another run may have saved.
        """
        before = self._values.pop(key, None)
        self._values[key] = change(before)
        self._changes.append((key, change))
        self._changed = self._changed or self._values[key] != before

    def save(self) -> None:
        """Keep the changes for the next run, beside those that other runs have saved; errors are ignored."""
        if not self._changed:
            return
        with suppress(OSError, DestinationError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with alone_in(self._path.parent):
                values = _read(self._path)
                for key, change in self._changes:
                    values[key] = change(values.pop(key, None))
                newest = dict(list(values.items())[-self._most :])
                replace_file(self._path, json.dumps(newest).encode(), private=True)
            self._values = values
            self._changes.clear()
            self._changed = False


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
