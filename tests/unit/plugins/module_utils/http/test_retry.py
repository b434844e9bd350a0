# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The retry policy: which errors are retried, how often, and after which waits."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ConnectionLostError,
    K8scrError,
    RegistryError,
    Retry,
    SourceError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries, retry_after

LOST = ConnectionLostError("interrupted")


def responding(seconds: float = 600, slept: list[float] | None = None) -> Retries:
    """Return the policy of a task that got a response; it does not really wait."""
    record: list[float] = [] if slept is None else slept
    retries = Retries(seconds, sleep=record.append)
    retries.has_response = True
    return retries


def test_waits_grow_with_each_attempt_and_are_random() -> None:
    slept: list[float] = []
    attempts = responding(slept=slept).begin("blob")

    for _number in range(8):
        attempts.wait_or_raise(LOST)

    assert slept[0] < 0.5 < slept[3] < slept[6] <= 15 * 1.5
    assert len(set(slept)) == len(slept)


def test_wait_has_length_of_retry_after() -> None:
    slept: list[float] = []

    responding(slept=slept).begin("blob").wait_or_raise(LOST.replace(retry=Retry(after=30)))

    assert slept == [30]


def test_progress_resets_timer() -> None:
    reported: list[tuple[str, str]] = []
    retries = Retries(
        1.0, sleep=lambda _seconds: None, on_retry=lambda action, reason: reported.append((action, reason))
    )
    attempts = retries.begin("blob")

    for _number in range(20):
        attempts.note_progress()
        attempts.wait_or_raise(LOST)

    assert reported == [("blob", "interrupted")] * 20


def test_action_that_keeps_failing_raises_after_timeout() -> None:
    attempts = responding(1.0).begin("blob")

    def fail_often() -> None:
        for _number in range(20):
            attempts.wait_or_raise(LOST)

    with pytest.raises(ConnectionLostError):
        fail_often()


def test_task_without_any_response_fails_after_three_attempts() -> None:
    attempts = Retries(600, sleep=lambda _seconds: None).begin("blob")
    attempts.wait_or_raise(LOST)
    attempts.wait_or_raise(LOST)

    with pytest.raises(ConnectionLostError):
        attempts.wait_or_raise(LOST)


@pytest.mark.parametrize("error", [SourceError("damaged"), RegistryError("forbidden", status=403)])
def test_permanent_error_is_not_retried(error: K8scrError) -> None:
    with pytest.raises(type(error)):
        responding().begin("blob").wait_or_raise(error)


def test_error_with_limited_attempts_has_them_after_other_failures() -> None:
    attempts = responding().begin("blob")
    # For example an API server that is unreachable for a while and returns 500 when it starts again.
    for _number in range(5):
        attempts.wait_or_raise(LOST)

    attempts.wait_or_raise(RegistryError("EOF", status=500))
    attempts.wait_or_raise(RegistryError("EOF", status=500))

    with pytest.raises(RegistryError):
        attempts.wait_or_raise(RegistryError("EOF", status=500))


def test_retry_is_reported_before_it_happens() -> None:
    reported: list[tuple[str, str]] = []
    retries = Retries(on_retry=lambda action, reason: reported.append((action, reason)), sleep=lambda _seconds: None)

    retries.begin("blob").wait_or_raise(LOST)

    assert reported == [("blob", "interrupted")]


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("9999", 60.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0), ("", 0.0), ("-1", 0.0)]
)
def test_retry_after_is_number_of_seconds_up_to_a_minute(value: str, seconds: float) -> None:
    assert retry_after({"Retry-After": value}) == seconds
