# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.interruption import cleanup_if_interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def received() -> Iterator[list[int]]:
    """The signals that the handlers of a worker receive, which the test replaces."""
    numbers: list[int] = []
    previous = {number: signal.signal(number, lambda number, _frame: numbers.append(number)) for number in SIGNALS}
    yield numbers
    for number, handler in previous.items():
        signal.signal(number, handler)


def send_at_once() -> None:
    """Send both signals to this process before it handles one of them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def test_cleanup_runs_once_if_second_signal_follows_at_once(received: list[int]) -> None:
    cleanups = []

    with pytest.raises(KeyboardInterrupt), cleanup_if_interrupted(lambda: cleanups.append("done")):
        send_at_once()

    assert cleanups == ["done"]
    assert received == [signal.SIGINT]
