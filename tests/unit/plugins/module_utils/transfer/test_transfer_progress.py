# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of a transfer for the user: its counts, retries and stalls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.progress_file import Message
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.interfaces import SourceImage
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_archive import OciArchiveDestination
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageCopy, ImageJob
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.plan import (
    Action,
    BlobResult,
    ImagePlan,
    StepId,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import ImageResult
from hypothesis import given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.transfer_events import MANIFEST, MIB, Run, blob


@pytest.fixture
def run() -> Run:
    """A transfer that has not begun."""
    return Run()


def test_status_counts_images_and_bytes_with_rate_and_time(run: Run) -> None:
    plans = [run.plan(f"app:{number}", blob(number)) for number in range(3)]
    run.listener.copy_started()
    run.copy(plans[0], plans[0].steps[0], 10 * MIB)
    run.listener.blob_done(plans[0], plans[0].blobs[0])
    run.end(plans[0])

    assert run.status(after=1) == "1/3 images, 10.0 of 30.0 MiB"
    assert run.status(after=7) == "1/3 images, 10.0 of 30.0 MiB, 1.2 MiB/s, 16 s left"


def test_status_is_missing_without_copy(run: Run) -> None:
    run.listener.image_planned(ImagePlan(ImageJob("app:1"), steps=()))
    run.listener.image_planned(ImagePlan(ImageJob("app:2"), error=RegistryError("denied")))

    assert run.status(after=60) is None


def test_image_has_line_when_it_ends(run: Run) -> None:
    changed, failed, referrer = run.plan("app:1", blob(1)), run.plan("app:2"), run.plan("sig", subject="sha256:0")
    run.listener.copy_started()
    run.copy(changed, changed.steps[0], MIB)
    run.clock.seconds += 3.1

    run.end(changed)
    run.end(failed, RegistryError("denied"))
    run.end(referrer)
    run.end(ImagePlan(ImageJob("app:3")))

    digest = MANIFEST.descriptor.digest[:19]
    assert run.messages == [
        Message(f"app:1 → {digest}  uploaded 1 of 1 layer, 10.0 MiB in 3.1 s", lasting=True),
        Message("app:2  failed: denied", lasting=True),
    ]


def test_task_ends_with_totals_of_its_transfers(run: Run) -> None:
    for name in ("app:1", "app:2"):
        run.listener.transfer_done([ImageResult(ImagePlan(ImageJob(name)), "sha256:0")], check_mode=False)

    run.listener.close()

    assert run.messages == [Message("2 images unchanged", lasting=True)]


def test_status_ends_with_last_image(run: Run) -> None:
    plan = run.plan("app:1", blob(1))
    run.listener.phase_started("checking 1 image")
    run.listener.copy_started()
    assert run.status(after=1) == "0/1 images, 0.0 of 10.0 MiB"

    run.end(plan)

    assert run.status(after=60) is None


def test_status_names_long_phase_before_copy(run: Run) -> None:
    run.listener.phase_started("checking 40 images")
    assert run.status(after=4) is None

    run.listener.retried("tag 1", "the API server restarts")

    assert run.status(after=8) == "checking 40 images (12 s); retrying 1 request: the API server restarts (8 s)"


def test_status_counts_bytes_of_long_phase(run: Run) -> None:
    run.listener.phase_started("verifying the bundle", 10 * MIB)
    for _second in range(6):
        run.clock.seconds += 1
        run.listener.phase_advanced(MIB)

    assert run.status() == "verifying the bundle (6.0 of 10.0 MiB, 1.0 MiB/s, 4 s left)"


def test_referrers_count_as_bytes_and_not_as_images(run: Run) -> None:
    run.plan("app:1", blob(1))
    run.plan("app:sig", blob(2), subject=MANIFEST.descriptor.digest)
    run.listener.copy_started()

    assert run.status() == "0/1 images, 0.0 of 20.0 MiB"


def test_referrers_of_unchanged_images_count(run: Run) -> None:
    run.plan("app:sig", blob(2), subject=MANIFEST.descriptor.digest)
    run.listener.copy_started()

    assert run.status() == "0/1 referrers, 0.0 of 10.0 MiB"


def test_resumed_upload_counts_bytes_once(run: Run) -> None:
    plan = run.plan("app:1", step := blob(1))
    run.listener.copy_started()

    for offset, count in ((4, 2), (0, 5), (3, 5), (7, 9)):
        run.copy(plan, step, count * MIB, offset * MIB)
        assert run.listener.meter.done == max(6, min(offset + count, 10)) * MIB or offset == 0

    assert (run.listener.meter.done, run.listener.meter.total) == (10 * MIB, 10 * MIB)


def test_status_states_bytes_that_are_copied_again(run: Run) -> None:
    plan = run.plan("app:1", step := blob(1))
    run.listener.copy_started()
    for offset in range(8):
        run.clock.seconds += 1
        run.copy(plan, step, MIB, offset * MIB)

    run.clock.seconds += 1
    run.copy(plan, step, MIB, 0)

    assert run.status() == "0/1 images, 8.0 of 10.0 MiB, 7.0 MiB again, 1.0 MiB/s, 9 s left"


def test_mounted_blob_adds_no_bytes(run: Run) -> None:
    plan = run.plan("app:1", sent := blob(1), blob(2, action=Action.MOUNTED), blob(3, action=Action.PRESENT))
    run.listener.copy_started()
    assert run.listener.meter.total == 10 * MIB

    run.listener.blob_started(plan, sent.at_source)
    run.listener.blob_done(plan, BlobResult(sent.descriptor, sent.descriptor.size, Action.MOUNTED))

    assert run.listener.meter.total == 0


def test_blob_that_cannot_be_mounted_adds_its_bytes(run: Run) -> None:
    plan = run.plan("app:1", step := blob(1, action=Action.MOUNTED, waits_for=StepId(0, 0)))
    run.listener.copy_started()

    run.copy(plan, step, 4 * MIB)

    assert (run.listener.meter.done, run.listener.meter.total) == (4 * MIB, 10 * MIB)


def test_failed_image_removes_its_missing_bytes(run: Run) -> None:
    plan, _other = run.plan("app:1", step := blob(1), blob(2)), run.plan("app:2", blob(3))
    run.listener.copy_started()
    run.copy(plan, step, 4 * MIB)

    run.end(plan, RegistryError("denied"))
    run.copy(plan, step, 8 * MIB)

    assert run.status() == "1/2 images, 1 failed, 4.0 of 14.0 MiB"


def test_new_plan_of_image_adds_bytes_and_no_image(run: Run) -> None:
    plan = run.plan("app:1", step := blob(1))
    run.listener.copy_started()
    run.copy(plan, step, 10 * MIB)
    run.listener.blob_done(plan, plan.blobs[0])

    run.listener.image_planned(plan)
    run.copy(plan, step, 5 * MIB)

    assert run.status() == "0/1 images, 15.0 of 20.0 MiB"


def test_images_of_archive_count_when_their_blobs_are_copied(run: Run, tmp_path: Path) -> None:
    archive = OciArchiveDestination(tmp_path / "archive.tar")
    copy = ImageCopy(Mock(), SourceImage(MANIFEST.descriptor), archive, "1")
    step = blob(1)
    plans = [ImagePlan(ImageJob(name, copy), manifests=(MANIFEST,), steps=(step,)) for name in ("app:1", "app:2")]
    for plan in plans:
        run.listener.image_planned(plan)
    run.listener.copy_started()

    run.copy(plans[0], step, 10 * MIB)
    run.listener.blob_done(plans[0], plans[0].blobs[0])

    assert run.status() == "1/2 images, 10.0 of 20.0 MiB"


def test_duration_of_image_excludes_wait_for_its_archive(run: Run, tmp_path: Path) -> None:
    archive = OciArchiveDestination(tmp_path / "archive.tar")
    copy = ImageCopy(Mock(), SourceImage(MANIFEST.descriptor), archive, "1")
    plan = ImagePlan(ImageJob("app:1", copy), manifests=(MANIFEST,), steps=(blob(1),))
    run.listener.image_planned(plan)
    run.listener.copy_started()
    run.copy(plan, plan.steps[0], 5 * MIB)
    run.clock.seconds += 3
    run.listener.blob_done(plan, plan.blobs[0])
    run.clock.seconds += 60

    run.end(plan)

    assert run.messages[0].text.endswith(" 10.0 MiB in 3.0 s")


def test_failed_referrer_has_line_unless_its_image_failed(run: Run) -> None:
    digest = MANIFEST.descriptor.digest
    failing, other = run.plan("app:1", blob(1)), run.plan("sig", subject=f"sha256:{'1' * 64}")
    dropped = run.plan("att", subject=digest)
    run.listener.copy_started()

    run.end(other, RegistryError("denied"))
    run.end(failing, RegistryError("the registry is full"))
    run.end(dropped, RegistryError("not copied, because its image failed"))

    assert [message.text for message in run.messages] == [
        "sig  not copied: denied",
        "app:1  failed: the registry is full",
    ]


def test_listener_keeps_nothing_of_finished_images(run: Run) -> None:
    plans = [run.plan(f"app:{number}", blob(number), blob(-number % 1000)) for number in range(1, 500)]
    run.listener.copy_started()
    for plan in plans:
        for step, result in zip(plan.steps, plan.blobs):
            run.copy(plan, step, 10 * MIB)
            run.listener.blob_done(plan, result)
        run.end(plan)

    assert not run.listener._blobs
    assert not run.listener._images


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["start", "move", "done", "mounted", "plan", "end", "fail", "tick"]),
        st.integers(0, 2),
        st.integers(0, 3),
        st.integers(0, 12),
        st.integers(0, 12),
    ),
    max_size=60,
)


@given(events=EVENTS)
def test_done_never_decreases_nor_exceeds_total_after_any_events(
    events: Sequence[tuple[str, int, int, int, int]],
) -> None:
    run = Run()
    actions = [Action.SENT, Action.SENT, Action.MOUNTED, Action.PRESENT]
    steps = [blob(number, 10, action) for number, action in enumerate(actions)]
    plans = [run.plan(f"app:{number}", *steps) for number in range(3)]
    run.listener.copy_started()
    before = 0

    for kind, image, number, offset, count in events:
        plan, step = plans[image], steps[number]
        if kind == "start":
            run.listener.blob_started(plan, step.at_source)
        elif kind == "move":
            run.listener.bytes_moved(plan, step.at_source, offset, count)
        elif kind in ("done", "mounted"):
            action = Action.SENT if kind == "done" else Action.MOUNTED
            run.listener.blob_done(plan, BlobResult(step.descriptor, 10, action))
        elif kind == "plan":
            run.listener.image_planned(plan)
        elif kind == "tick":
            run.status(after=count)
        else:
            run.end(plan, RegistryError("denied") if kind == "fail" else None)
        assert before <= run.listener.meter.done <= run.listener.meter.total
        before = run.listener.meter.done

    for plan in plans:
        run.end(plan)
    assert run.listener.meter.done == run.listener.meter.total
