# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The function with which the tests wait for a condition."""

from __future__ import annotations

import itertools

import pytest
from cluster.waiting import wait_until


def test_wait_until_returns_when_condition_is_met() -> None:
    calls = itertools.count()

    wait_until(lambda: next(calls) == 3, "the third check", timeout=60)

    assert next(calls) == 4


def test_wait_until_names_condition_after_timeout() -> None:
    with pytest.raises(AssertionError, match=r"timed out after 0.05 s: the push starts"):
        wait_until(lambda: False, "the push starts", timeout=0.05)
