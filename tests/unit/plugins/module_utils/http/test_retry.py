# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long something is tried again, and how long is waited between."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ConnectionLostError,
    RegistryError,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries

LOST = ConnectionLostError("cut")


def test_waits_grow_and_are_never_the_same() -> None:
    slept: list[float] = []
    retries = Retries(600, sleep=slept.append)
    retries.proved = True
    attempts = retries.begin("blob")

    for _number in range(8):
        attempts.failed(LOST)

    assert slept[0] < 0.5 < slept[3] < slept[6] <= 15 * 1.5
    assert len(set(slept)) == len(slept)


def test_what_gets_on_may_fail_again() -> None:
    retries = Retries(1.0, sleep=lambda _seconds: None)
    attempts = retries.begin("blob")

    for _number in range(20):
        attempts.worked()
        attempts.failed(LOST)

    assert retries.account == [{"what": "blob", "why": "cut", "times": 20}]


def test_what_goes_on_failing_is_given_up() -> None:
    retries = Retries(1.0, sleep=lambda _seconds: None)
    retries.proved = True
    attempts = retries.begin("blob")

    def fail_often() -> None:
        for _number in range(20):
            attempts.failed(LOST)

    with pytest.raises(ConnectionLostError):
        fail_often()


def test_where_nothing_has_worked_yet_it_is_told_at_once() -> None:
    attempts = Retries(600, sleep=lambda _seconds: None).begin("blob")
    attempts.failed(LOST)
    attempts.failed(LOST)

    with pytest.raises(ConnectionLostError):
        attempts.failed(LOST)


@pytest.mark.parametrize("error", [SourceError("damaged"), RegistryError("refused", status=403)])
def test_what_does_not_pass_is_not_tried_again(error: Exception) -> None:
    with pytest.raises(type(error)):
        Retries(600, sleep=lambda _seconds: None).begin("blob").failed(error)  # type: ignore[arg-type]


def test_what_is_worth_three_tries_has_them_whatever_failed_before() -> None:
    retries = Retries(600, sleep=lambda _seconds: None)
    retries.proved = True
    attempts = retries.begin("blob")
    # As of an API server that is away for a while and answers 500 as it comes back.
    for _number in range(5):
        attempts.failed(LOST)

    attempts.failed(RegistryError("EOF", status=500))
    attempts.failed(RegistryError("EOF", status=500))

    with pytest.raises(RegistryError):
        attempts.failed(RegistryError("EOF", status=500))
