# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""k8scr_wait with a registry that responds, one that does not respond, and errors that waiting cannot resolve."""

from __future__ import annotations

import time

from cluster import users

from .conftest import Task

WAIT_TIMEOUT = 600
WITHOUT_WAITING = 120
"""The longest duration of a task that does not wait, in seconds, on a busy machine."""


def test_wait_returns_immediately_when_registry_responds(task: Task) -> None:
    result = task("k8scr_wait")

    assert not result["changed"]
    assert "elapsed" in result


def test_wait_reports_error_of_api_server_when_registry_does_not_respond(task: Task) -> None:
    start = time.monotonic()

    result = task("k8scr_wait", registry_port=5999, wait_timeout=10)

    assert time.monotonic() - start >= 10
    assert (
        "the registry in Pod k8scr/k8scr-0 did not become available through the API server within 10 s" in result["msg"]
    )
    assert "connection refused" in result["msg"]


def test_wait_fails_immediately_when_pod_is_missing(task: Task) -> None:
    start = time.monotonic()

    result = task("k8scr_wait", registry="k8scr-9", wait_timeout=WAIT_TIMEOUT)

    assert time.monotonic() - start < WITHOUT_WAITING
    assert "there is no Pod k8scr-9 in namespace k8scr" in result["msg"]


def test_wait_fails_immediately_when_permission_is_missing(task: Task) -> None:
    kubeconfig = str(users.make("stranger"))
    start = time.monotonic()

    result = task("k8scr_wait", kubeconfig=kubeconfig, wait_timeout=WAIT_TIMEOUT)

    assert time.monotonic() - start < WITHOUT_WAITING
    assert 'User "stranger" cannot get resource "pods/proxy"' in result["msg"]


def test_wait_returns_immediately_in_check_mode(task: Task) -> None:
    start = time.monotonic()

    result = task("k8scr_wait", check_mode=True, registry="k8scr-9", wait_timeout=WAIT_TIMEOUT)

    assert time.monotonic() - start < WITHOUT_WAITING
    assert not result.get("failed")
