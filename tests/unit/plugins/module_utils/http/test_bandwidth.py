# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The limit to the bytes per second."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.bandwidth import Bandwidth

MIB = 1 << 20


class Clock:
    """A clock that advances during sleep."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds


@pytest.mark.parametrize("rate", [100_000, 10 * MIB])
def test_limit_passes_rate_in_each_second(rate: int) -> None:
    clock = Clock()
    bandwidth = Bandwidth(rate, lambda: clock.now, clock.sleep)
    carried = 0

    for part in bandwidth.limit(memoryview(bytes(MIB)) for _number in range(10 * rate // MIB + 2)):
        if clock.now > 110:
            break
        carried += len(part)

    assert carried == pytest.approx(10 * rate, rel=0.05)


def test_limit_does_not_save_unused_bandwidth() -> None:
    clock = Clock()
    bandwidth = Bandwidth(MIB, lambda: clock.now, clock.sleep)
    clock.now += 60

    list(bandwidth.limit(memoryview(bytes(MIB)) for _number in range(5)))

    assert clock.now == pytest.approx(165, rel=0.001)


def test_limit_does_not_change_content() -> None:
    content = bytes(range(256)) * 4096

    passed = b"".join(Bandwidth(1 << 40).limit(iter([memoryview(content)])))

    assert passed == content
