# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exports of an engine's images: temporary files, of which a limited number exists at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .docker_archive import DockerArchiveSource


@dataclass
class _Export:
    """An export, which its first user makes.

    Attributes:
        users: The number of users that read it now.
        lock: Held while it is made.
    """

    archive: DockerArchiveSource | None = None
    users: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Exports:
    """The exports of a task. A new export replaces the one that was not read for the longest time.

    Args:
        limit: The maximum number of exports at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._changed = threading.Condition()
        # By image, the latest user last.
        self._exports: dict[object, _Export] = {}

    @contextmanager
    def open(self, image: object, make: Callable[[], DockerArchiveSource]) -> Iterator[DockerArchiveSource]:
        """Open the export of an image until the end of the block; wait while all existing exports are being read.

        Args:
            image: Identifies the image.
            make: Makes the export if it does not exist.

        Raises:
            K8scrError: ``make`` failed.
        """
        export = self._reserve(image)
        try:
            with export.lock:
                export.archive = export.archive or make()
            yield export.archive
        finally:
            with self._changed:
                export.users -= 1
                self._changed.notify_all()

    def delete(self, image: object) -> None:
        """Delete the export of an image, unless it is being read."""
        with self._changed:
            export = self._exports.get(image)
            if export and not export.users:
                self._close(image)
                self._changed.notify_all()

    def close(self) -> None:
        """Delete all exports."""
        with self._changed:
            for image in list(self._exports):
                self._close(image)

    def _reserve(self, image: object) -> _Export:
        with self._changed:
            while image not in self._exports and len(self._exports) >= self.limit:
                unused = [other for other, export in self._exports.items() if not export.users]
                if unused:
                    self._close(unused[0])
                else:
                    self._changed.wait()
            export = self._exports.pop(image) if image in self._exports else _Export()
            self._exports[image] = export
            export.users += 1
            return export

    def _close(self, image: object) -> None:
        archive = self._exports.pop(image).archive
        if archive:
            archive.close()
