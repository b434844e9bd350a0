# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of a file that is sent in pieces."""

from __future__ import annotations

import re

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.progress import Progress
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.send_progress import SendProgress

MIB = 1 << 20


class Clock:
    """A clock that only tests move."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def transfer(clock: Clock) -> SendProgress:
    return SendProgress("/media/app.tar", clock)


def test_status_appears_after_seconds_of_checking(transfer: SendProgress, clock: Clock) -> None:
    assert transfer.status() is None

    clock.seconds += 12

    assert transfer.status() == "checking /media/app.tar (12 s)"


def test_status_has_rate_and_remaining_time(transfer: SendProgress, clock: Clock) -> None:
    transfer.begin(100 * MIB, 20 * MIB)
    clock.seconds += 10
    transfer.add(40 * MIB)

    assert transfer.status() == "/media/app.tar: 60.0 of 100.0 MiB, 4.0 MiB/s, 10 s left"


def test_status_says_since_when_host_is_silent(transfer: SendProgress, clock: Clock) -> None:
    transfer.begin(100 * MIB, 0)
    clock.seconds += 35

    status = transfer.status()

    assert status
    assert re.fullmatch(r"/media/app.tar: 0.0 of 100.0 MiB, no response since \d\d:\d\d:\d\d \(35 s\)", status)


@pytest.mark.parametrize(("count", "lines"), [(0, []), (MIB, ["/media/?[31mapp.tar: sent 1.0 MiB in 2.0 s"])])
def test_line_states_sent_bytes_if_any(clock: Clock, count: int, lines: list[str]) -> None:
    shown: list[str] = []
    transfer = SendProgress("/media/\x1b[31mapp.tar", clock)

    with transfer.shown(Progress(lambda message: shown.append(message.text))):
        if count:
            transfer.begin(count, 0)
            clock.seconds += 2
            transfer.add(count)

    assert shown == lines
