# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of the copies of a task."""

from __future__ import annotations

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.schedule import Dependencies, Schedule

IMAGE, OTHER, REFERRER, NESTED = 0, 1, 2, 3


def started(schedule: Schedule) -> list[int]:
    """Return the copies that can start, while others are running."""
    return list(iter(lambda: schedule.start(is_idle=False), None))


def test_referrer_starts_after_its_subject_and_tag_follows_it() -> None:
    schedule = Schedule([IMAGE, OTHER, REFERRER], Dependencies({REFERRER: {IMAGE}}, {REFERRER: [IMAGE]}))

    assert started(schedule) == [IMAGE, OTHER]
    schedule.stored(IMAGE)
    assert (started(schedule), schedule.take_to_tag()) == ([REFERRER], [])
    schedule.stored(REFERRER)
    assert (schedule.deferred, schedule.take_to_tag(), schedule.take_to_tag()) == ({IMAGE}, [IMAGE], [])


def test_referrer_starts_before_waiting_images() -> None:
    schedule = Schedule([IMAGE, OTHER, REFERRER], Dependencies({REFERRER: {IMAGE}}, {REFERRER: [IMAGE]}))
    assert schedule.start(is_idle=False) == IMAGE

    schedule.stored(IMAGE)

    assert started(schedule) == [REFERRER, OTHER]


def test_referrer_of_two_images_starts_after_first_and_is_dropped_after_both_failed() -> None:
    dependencies = Dependencies({REFERRER: {IMAGE, OTHER}}, {REFERRER: [IMAGE, OTHER]})
    one_fails, both_fail = (Schedule([IMAGE, OTHER, REFERRER], dependencies) for _schedule in range(2))

    one_fails.failed(IMAGE)
    one_fails.stored(OTHER)
    both_fail.failed(IMAGE)
    both_fail.failed(OTHER)

    assert (started(one_fails), one_fails.take_dropped()) == ([REFERRER, IMAGE, OTHER], [])
    assert (started(both_fail), both_fail.take_dropped()) == ([IMAGE, OTHER], [REFERRER])


def test_referrers_of_dropped_referrers_are_dropped() -> None:
    dependencies = Dependencies({REFERRER: {IMAGE}, NESTED: {REFERRER}}, {REFERRER: [IMAGE], NESTED: [IMAGE]})
    schedule = Schedule([IMAGE, REFERRER, NESTED], dependencies)

    schedule.failed(IMAGE)

    assert schedule.take_dropped() == [REFERRER, NESTED]


def test_tag_does_not_wait_for_failed_referrer() -> None:
    schedule = Schedule([IMAGE, REFERRER], Dependencies({REFERRER: {IMAGE}}, {REFERRER: [IMAGE]}))
    schedule.stored(IMAGE)

    schedule.failed(REFERRER)

    assert schedule.take_to_tag() == [IMAGE]


def test_referrer_of_unchanged_image_starts_at_once() -> None:
    schedule = Schedule([REFERRER], Dependencies({REFERRER: {IMAGE}}, {REFERRER: [IMAGE]}))

    assert (started(schedule), schedule.deferred) == ([REFERRER], frozenset())


def test_referrers_that_wait_for_each_other_start_when_nothing_else_runs() -> None:
    schedule = Schedule([REFERRER, NESTED], Dependencies({REFERRER: {NESTED}, NESTED: {REFERRER}}))

    assert schedule.start(is_idle=False) is None
    assert schedule.start(is_idle=True) == REFERRER
    schedule.stored(REFERRER)
    assert started(schedule) == [NESTED]


def test_schedule_lists_unfinished_copies() -> None:
    schedule = Schedule([IMAGE, OTHER, REFERRER], Dependencies({REFERRER: {IMAGE}}, {REFERRER: [IMAGE]}))
    schedule.start(is_idle=False)

    assert schedule.left == [OTHER, REFERRER]
    schedule.stored(IMAGE)
    assert sorted(schedule.left) == [IMAGE, OTHER, REFERRER]
