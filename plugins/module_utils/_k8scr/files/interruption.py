# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clean up in a process that a signal ends: a worker of Ansible, or a module.

The handlers in workers of ansible-core 2.19 and later end the process at once, without ``finally`` blocks. The main
process kills a worker 5 seconds after Ctrl-C. SIGTERM and SIGHUP end a module without ``finally`` blocks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_SECONDS_TO_CLEAN_UP = 10


class _Interrupted(BaseException):
    """A signal arrived; not an Exception, so that no retry catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def cleanup_if_interrupted(cleanup: Callable[[], None]) -> Iterator[None]:
    """Call ``cleanup`` if an exception, SIGHUP, SIGINT or SIGTERM ends the block.

    ``cleanup`` has 10 seconds. Then the previous handler gets the signal. Other threads handle no signals.
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if handler not in (None, signal.SIG_IGN):
                previous[number] = handler
                signal.signal(number, _interrupt)
    received = None
    try:
        yield
    except BaseException as error:
        if isinstance(error, _Interrupted):
            received = error.number
        with _limited(previous):
            cleanup()
        if received is None:
            raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if received is not None:
        os.kill(os.getpid(), received)
        raise KeyboardInterrupt


def leave_signals_to_main_thread() -> None:
    """Block all signals in the current thread, which is not the main thread.

    Only the main thread runs handlers of signals. If the kernel delivers a signal to another thread, a blocking system
    call in the main thread continues, and the handler waits for its end. The kernel does so if a second signal follows
    before the main thread has handled the first one.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    # The main process sends SIGTERM immediately after SIGINT. A second exception would end the cleanup.
    for each in _SIGNALS:
        if signal.getsignal(each) is _interrupt:
            # Python writes a message if a pending signal is ignored with SIG_IGN.
            signal.signal(each, _ignore)
    raise _Interrupted(number)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Handle signals that follow the first one."""


@contextlib.contextmanager
def _limited(signals: Collection[signal.Signals]) -> Iterator[None]:
    """Ignore signals in the block, which ends after 10 seconds."""
    if not signals:
        yield
        return
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
    previous = signal.signal(signal.SIGALRM, _interrupt)
    signal.alarm(_SECONDS_TO_CLEAN_UP)
    try:
        with contextlib.suppress(_Interrupted):
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
