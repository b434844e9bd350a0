# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Injects the faults of a delivery or prune, and clears each of them."""

from __future__ import annotations

import threading

from .base import Fault, FaultContext


class Faults:
    """Injects faults, and clears each once: after its duration or at the end of the delivery or prune."""

    def __init__(self, context: FaultContext) -> None:
        self.injected: list[Fault] = []
        self._context = context
        self._active: list[Fault] = []
        self._timers: list[threading.Timer] = []
        self._lock = threading.Lock()

    def inject(self, fault: Fault) -> None:
        """Inject a fault."""
        with self._lock:
            self.injected.append(fault)
            fault.inject(self._context)
            self._active.append(fault)
        if fault.seconds is not None:
            timer = threading.Timer(fault.seconds, self._clear, [fault])
            timer.start()
            self._timers.append(timer)

    def clear(self) -> None:
        """Clear all remaining faults."""
        for timer in self._timers:
            timer.cancel()
            timer.join()
        for fault in list(reversed(self._active)):
            self._clear(fault)

    def _clear(self, fault: Fault) -> None:
        with self._lock:
            if fault in self._active:
                self._active.remove(fault)
                fault.clear(self._context)
