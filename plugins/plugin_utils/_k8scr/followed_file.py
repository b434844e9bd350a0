# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Follow a file that a module on this host appends to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.interruption import leave_signals_to_main_thread

_POLL_INTERVAL = 0.2
_LARGEST_READ = 64 << 10


class FollowedFile:
    """Reads the new data of a file in a thread, until the end of a context; then it reads the rest.

    An error of the file ends it. The context raises nothing.

    Args:
        path: The file, which another process may create later.
        receive: Takes the new data in pieces, and raises nothing; it is called regularly, also without new data.

    Attributes:
        error: The reason why it ended early; ``None`` for none.
    """

    def __init__(self, path: Path, receive: Callable[[bytes], None]) -> None:
        self.error: str | None = None
        self._path = path
        self._receive = receive
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> FollowedFile:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Read the rest, and wait until ``receive`` returns."""
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        leave_signals_to_main_thread()
        with ExitStack() as exit_stack:
            try:
                file: BinaryIO | None = None
                has_ended = False
                while not has_ended:
                    # The read after the end of the module is the last one.
                    has_ended = self._ended.wait(_POLL_INTERVAL)
                    if file is None and self._path.exists():
                        file = exit_stack.enter_context(self._path.open("rb", buffering=0))
                    self._read(file)
            except OSError as error:
                self.error = error.strerror or str(error)

    def _read(self, file: BinaryIO | None) -> None:
        while data := file.read(_LARGEST_READ) if file else b"":
            self._receive(data)
        self._receive(b"")
