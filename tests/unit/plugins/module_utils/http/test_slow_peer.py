# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The minimum rate of a connection: what counts, and over which time."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.slow_peer import Pace, SlowPeerError


def test_rate_below_minimum_fails_after_one_minute_of_waiting() -> None:
    pace = Pace("sent", 60.0, 1024)

    for _second in range(59):
        pace.add(1, 1.0)
    with pytest.raises(SlowPeerError, match=r"^sent only 60 bytes in 60 seconds, less than 1024 a second$"):
        pace.add(1, 1.0)


def test_rate_at_minimum_is_accepted_forever() -> None:
    pace = Pace("sent", 60.0, 1024)

    for _second in range(10_000):
        pace.add(1024, 1.0)


def test_time_of_caller_does_not_count() -> None:
    pace = Pace("sent", 60.0, 1024)

    # A caller that reads a byte an hour, for example because of a low bandwidth, waits for no data.
    for _hour in range(10_000):
        pace.add(1, 0.0)


def test_fast_transfer_after_long_pause_is_accepted() -> None:
    pace = Pace("sent", 60.0, 1024)

    for _pause in range(10):
        pace.add(16 << 10, 59.9)
        pace.add(1 << 20, 0.5)


def test_each_window_counts_for_itself() -> None:
    pace = Pace("sent", 60.0, 1024)
    pace.add(1 << 30, 60.0)

    with pytest.raises(SlowPeerError, match="only 1 bytes in 61 seconds"):
        pace.add(1, 61.0)


def test_window_is_as_long_as_timeout() -> None:
    pace = Pace("sent", 300.0, 1024)

    pace.add(1, 299.0)
    with pytest.raises(SlowPeerError, match="in 300 seconds"):
        pace.add(1, 1.0)


def test_no_minimum_accepts_any_rate() -> None:
    pace = Pace("sent", 60.0, 0)

    pace.add(0, 1e9)


def test_error_names_peer_and_option() -> None:
    error = SlowPeerError("sent only 1 bytes", "Set a lower minimum_rate").explain("the registry")

    assert str(error) == "the registry sent only 1 bytes. Set a lower minimum_rate."
    assert error.transient
