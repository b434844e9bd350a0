# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of a transfer with retries or without data."""

from __future__ import annotations

import re

import pytest
from unit.plugins.module_utils.support.transfer_events import MIB, Run, blob


@pytest.fixture
def run() -> Run:
    """A transfer that has not begun."""
    return Run()


def test_reason_of_retry_has_short_digest(run: Run) -> None:
    plan = run.plan("app:1", step := blob(1))
    run.listener.copy_started()
    run.copy(plan, step, MIB)

    run.listener.retried(f"blob {step.descriptor.digest}", f"blob {step.descriptor.digest} cannot be uploaded: 503")

    assert str(run.status()).endswith("; retrying 1 blob: blob sha256:000000000000 cannot be uploaded: 503 (1 s)")


def test_status_states_retries_until_recovery(run: Run) -> None:
    plan = run.plan("app:1", step := blob(1))
    run.listener.copy_started()
    run.copy(plan, step, MIB)
    run.listener.retried(f"blob {step.descriptor.digest} to app", "the API server restarts")
    retrying = "0/1 images, 1.0 of 10.0 MiB; retrying 1 blob: the API server restarts (3 s)"
    assert run.status(after=3) == retrying

    run.listener.recovered(f"blob {step.descriptor.digest} to app")

    assert run.status() == "0/1 images, 1.0 of 10.0 MiB"


def test_status_states_no_retry_while_data_flows_again(run: Run) -> None:
    plan = run.plan("app:1", step := blob(1))
    run.listener.copy_started()
    run.copy(plan, step, MIB)
    run.listener.retried(f"blob {step.descriptor.digest} to app", "the API server restarts")
    run.clock.seconds += 2

    run.copy(plan, step, MIB, MIB)

    assert run.status() == "0/1 images, 2.0 of 10.0 MiB"


def test_stall_names_time_blob_and_image(run: Run) -> None:
    plan = run.plan("team/api:1.2", step := blob(1), other := blob(2))
    run.listener.copy_started()
    run.copy(plan, step, MIB)
    run.copy(plan, other, MIB)

    status = run.status(after=35)

    assert status is not None
    assert status.startswith("0/1 images, 2.0 of 20.0 MiB, no data since ")
    assert status.endswith(" (35 s), waiting for blob sha256:000000000000 of team/api:1.2 and 1 more")


def test_stall_has_reason_of_retry(run: Run) -> None:
    plan = run.plan("app:1", step := blob(1))
    run.listener.copy_started()
    run.copy(plan, step, MIB)
    run.listener.retried(f"blob {step.descriptor.digest} to app", "the API server restarts")

    assert str(run.status(after=35)).endswith(" (35 s), retrying 1 blob: the API server restarts (35 s)")


def test_status_states_end_of_images_whose_data_is_complete(run: Run) -> None:
    plan = run.plan("app:1", step := blob(1))
    run.listener.copy_started()
    run.copy(plan, step, 10 * MIB)

    assert run.status(after=8) == "0/1 images, 10.0 of 10.0 MiB, finishing 1 image (8 s)"


def test_status_names_image_that_registry_does_not_store(run: Run) -> None:
    plans = [run.plan("team/api:1.2", blob(1)), run.plan("team/web:1.2", blob(2))]
    run.listener.copy_started()
    for plan in plans:
        run.copy(plan, plan.steps[0], 10 * MIB)
    run.clock.seconds += 8
    run.listener.blob_done(plans[0], plans[0].blobs[0])
    assert str(run.status(after=8)).endswith(", finishing 2 images (16 s)")

    waiting = run.status(after=51)

    assert waiting is not None
    assert re.search(
        r"20\.0 MiB, waiting since [\d:]{8} \(59 s\) for the registry to store team/api:1\.2 and 1 more$", waiting
    )
