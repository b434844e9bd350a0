# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The retry policy: which errors are retried, how often, and after which waits."""

from __future__ import annotations

import time

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ApiServerError,
    ConnectionLostError,
    K8scrError,
    PodUnreachableError,
    RegistryError,
    Retry,
    SourceError,
    UnreachableError,
    WrongPathError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries

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


def test_waits_stay_at_maximum_after_thousands_of_attempts() -> None:
    slept: list[float] = []
    attempts = responding(seconds=2_147_483, slept=slept).begin("blob")

    for _number in range(3000):
        attempts.wait_or_raise(LOST)

    assert max(slept) <= 15 * 1.5


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


def test_action_is_attempted_for_the_last_time_at_its_timeout() -> None:
    slept: list[float] = []
    attempts = responding(0.1, slept).begin("blob")
    late = LOST.replace(retry=Retry(after=30))
    attempts.wait_or_raise(late)

    with pytest.raises(ConnectionLostError):
        attempts.wait_or_raise(late)
    assert len(slept) == 1
    assert slept[0] == pytest.approx(0.1, abs=0.05)


def test_action_is_not_attempted_after_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    attempts = responding(60).begin("blob")
    attempts.wait_or_raise(LOST)
    # The second attempt takes a minute.
    now = 61.0

    with pytest.raises(ConnectionLostError):
        attempts.wait_or_raise(LOST)


def test_waits_have_configured_maximum() -> None:
    slept: list[float] = []
    attempts = Retries(600, sleep=slept.append, has_response=True, longest_wait=1.0).begin("blob")

    for _number in range(9):
        attempts.wait_or_raise(LOST)

    assert max(slept) <= 1.5


@pytest.mark.parametrize(
    "error",
    [
        LOST,
        UnreachableError("cannot connect"),
        PodUnreachableError("connection refused", status=503),
        WrongPathError("other port", status=503),
    ],
    ids=lambda error: type(error).__name__,
)
def test_task_without_any_response_fails_after_three_attempts(error: K8scrError) -> None:
    attempts = Retries(600, sleep=lambda _seconds: None).begin("blob")
    attempts.wait_or_raise(error)
    attempts.wait_or_raise(error)

    with pytest.raises(type(error)):
        attempts.wait_or_raise(error)


@pytest.mark.parametrize(
    "error", [RegistryError("starting", status=503), ApiServerError("starting", status=503)], ids=["registry", "API"]
)
def test_error_response_of_server_counts_as_response_of_the_task(error: K8scrError) -> None:
    attempts = Retries(600, sleep=lambda _seconds: None).begin("blob")

    for _number in range(4):
        attempts.wait_or_raise(error)
    for _number in range(4):
        attempts.wait_or_raise(LOST)


def test_run_calls_function_again_after_transient_errors() -> None:
    errors: list[K8scrError] = [LOST, RegistryError("starting", status=503)]

    def attempt() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert Retries(sleep=lambda _seconds: None).run("blob", attempt) == "done"


def test_run_raises_permanent_error() -> None:
    def attempt() -> str:
        raise SourceError("damaged")

    with pytest.raises(SourceError):
        Retries(sleep=lambda _seconds: None).run("blob", attempt)


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


def test_end_of_retried_action_is_reported_once() -> None:
    recovered: list[str] = []
    retries = Retries(60, sleep=lambda _seconds: None, on_recovery=recovered.append, has_response=True)
    succeeding, failing = retries.begin("blob"), retries.begin("manifest")

    for attempts in (succeeding, failing):
        attempts.note_progress()
        attempts.wait_or_raise(LOST)
    succeeding.note_progress()
    succeeding.note_progress()
    with pytest.raises(RegistryError):
        failing.wait_or_raise(RegistryError("denied", status=403))
    with pytest.raises(RegistryError):
        failing.wait_or_raise(RegistryError("denied", status=403))

    assert recovered == ["blob", "manifest"]


def test_progress_does_not_add_attempts_with_slow_peer() -> None:
    attempts = responding().begin("blob")
    slow = LOST.replace(retry=Retry(3, despite_progress=True))

    for _number in range(2):
        attempts.note_progress()
        attempts.wait_or_raise(slow)
        attempts.note_progress()
        attempts.wait_or_raise(LOST)
    attempts.note_progress()

    with pytest.raises(ConnectionLostError):
        attempts.wait_or_raise(slow)
