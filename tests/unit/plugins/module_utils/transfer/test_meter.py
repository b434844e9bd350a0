# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rates, estimates and stalls, with a clock that only the test moves."""

from __future__ import annotations

import time

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.meter import Meter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.texts import (
    rate_text,
    seconds_text,
    share_text,
    size_text,
)
from unit.plugins.module_utils.support.moved_clock import MovedClock

MIB = 1 << 20


@pytest.fixture
def clock() -> MovedClock:
    """A clock that stands still until the test moves it."""
    return MovedClock()


@pytest.fixture
def meter(clock: MovedClock) -> Meter:
    """A meter with 1000 MiB to transfer, which has begun."""
    meter = Meter(clock, lambda: 1_000_000 + clock.seconds)
    meter.expect(1000 * MIB)
    meter.begin()
    return meter


def transfer(meter: Meter, clock: MovedClock, seconds: int, rate: int) -> None:
    """Transfer data at a constant rate in MiB/s."""
    for _second in range(seconds):
        clock.seconds += 1
        meter.add(rate * MIB)
        meter.rate()


def test_meter_has_no_estimate_in_first_seconds(meter: Meter, clock: MovedClock) -> None:
    transfer(meter, clock, 4, 10)

    assert (meter.rate(), meter.seconds_left()) == (None, None)


def test_meter_estimates_from_rate_of_last_seconds(meter: Meter, clock: MovedClock) -> None:
    transfer(meter, clock, 10, 1)
    transfer(meter, clock, 30, 20)

    assert meter.rate() == pytest.approx(20 * MIB)
    assert meter.seconds_left() == pytest.approx((1000 - 610) / 20)


def test_rate_contains_no_bytes_of_earlier_runs(meter: Meter, clock: MovedClock) -> None:
    meter.skip(500 * MIB)
    transfer(meter, clock, 10, 10)

    assert meter.rate() == pytest.approx(10 * MIB)
    assert meter.done == 600 * MIB


def test_stall_has_time_of_last_data(meter: Meter, clock: MovedClock) -> None:
    transfer(meter, clock, 7, 10)
    clock.seconds += 9
    assert meter.stall() is None

    clock.seconds += 26
    stall = meter.stall()

    assert stall is not None
    assert stall.since == time.strftime("%H:%M:%S", time.localtime(1_000_007))
    assert stall.seconds == 35


def test_meter_has_no_stall_after_all_data(meter: Meter, clock: MovedClock) -> None:
    transfer(meter, clock, 10, 100)
    clock.seconds += 60

    assert meter.stall() is None


def test_meter_has_no_stall_before_it_begins(clock: MovedClock) -> None:
    meter = Meter(clock)
    meter.expect(1)
    clock.seconds += 60

    assert (meter.stall(), meter.rate()) == (None, None)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (MIB - 1, "1.0 MiB"),
        (43_201_332, "41.2 MiB"),
        (1 << 70, "1048576.0 PiB"),
    ],
)
def test_size_text_has_unit_and_one_decimal(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (3.14, "3.1 s"), (9.96, "10 s"), (89.4, "89 s"), (240, "4 min"), (7500, "2 h 5 min")],
)
def test_seconds_text_is_short(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_share_and_rate_are_short() -> None:
    assert share_text(3.1 * 1024 * MIB, 18.4 * 1024 * MIB) == "3.1 of 18.4 GiB"
    assert share_text(41.2 * MIB, 18.4 * 1024 * MIB) == "41.2 MiB of 18.4 GiB"
    assert share_text(0, 18.4 * 1024 * MIB) == "0.0 of 18.4 GiB"
    assert (rate_text(61.4 * MIB), rate_text(3.14 * MIB), rate_text(9.96 * MIB)) == (
        "61 MiB/s",
        "3.1 MiB/s",
        "10 MiB/s",
    )
