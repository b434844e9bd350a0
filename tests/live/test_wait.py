# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting for the registry: it answers, it does not and the cluster says why, or waiting does not help."""

from __future__ import annotations

import time

from cluster import users

from .conftest import Task

PATIENCE = 60
AT_ONCE = 15
"""Seconds that a task may take on a busy machine if it does not wait."""


def test_a_registry_that_answers_is_not_waited_for(task: Task) -> None:
    result = task("k8scr_wait")

    assert not result["changed"]
    assert "elapsed" in result


def test_a_registry_that_does_not_answer_is_told_with_what_the_api_server_says(task: Task) -> None:
    start = time.monotonic()

    result = task("k8scr_wait", registry_port=5999, wait_timeout=2)

    assert time.monotonic() - start >= 2
    assert "the registry in Pod k8scr/k8scr-0 did not answer through the API server within 2 s" in result["msg"]
    assert "connection refused" in result["msg"]


def test_a_pod_that_is_not_there_is_told_at_once(task: Task) -> None:
    start = time.monotonic()

    result = task("k8scr_wait", registry="k8scr-9", wait_timeout=PATIENCE)

    assert time.monotonic() - start < AT_ONCE
    assert "there is no Pod k8scr-9 in namespace k8scr" in result["msg"]


def test_a_right_that_is_missing_is_told_at_once(task: Task) -> None:
    kubeconfig = str(users.make("stranger"))
    start = time.monotonic()

    result = task("k8scr_wait", kubeconfig=kubeconfig, wait_timeout=PATIENCE)

    assert time.monotonic() - start < AT_ONCE
    assert 'User "stranger" cannot get resource "pods/proxy"' in result["msg"]


def test_check_mode_waits_for_nothing(task: Task) -> None:
    start = time.monotonic()

    result = task("k8scr_wait", check_mode=True, registry="k8scr-9", wait_timeout=PATIENCE)

    assert time.monotonic() - start < AT_ONCE
    assert not result.get("failed")
