# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A limit to the bytes per second, kept over all threads."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.bandwidth import Bandwidth

MIB = 1 << 20


class Clock:
    """A time that passes while one sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.mark.parametrize("rate", [100_000, 10 * MIB])
def test_ten_seconds_carry_ten_times_the_rate(rate: int) -> None:
    clock = Clock()
    bandwidth = Bandwidth(rate, lambda: clock.now, clock.sleep)
    carried = 0

    for part in bandwidth.limit(memoryview(bytes(MIB)) for _number in range(10 * rate // MIB + 2)):
        if clock.now > 110:
            break
        carried += len(part)

    assert carried == pytest.approx(10 * rate, rel=0.05)


def test_what_was_not_used_is_not_made_up_for() -> None:
    clock = Clock()
    bandwidth = Bandwidth(MIB, lambda: clock.now, clock.sleep)
    clock.now += 60

    list(bandwidth.limit(memoryview(bytes(MIB)) for _number in range(5)))

    assert clock.now == pytest.approx(165, rel=0.001)


def test_content_passes_unchanged() -> None:
    content = bytes(range(256)) * 4096

    passed = b"".join(Bandwidth(1 << 40).limit(iter([memoryview(content)])))

    assert passed == content
