# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open the lock file of a task, and write it at the end of the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import K8scrError
from ..transfer.report import ImageResult, report
from .source_settings import SourceSettings

if TYPE_CHECKING:
    from ..transfer.lock import ImageLock


def open_lock(settings: SourceSettings) -> ImageLock | None:
    """Return the lock file, if the task uses one.

    Raises:
        InputError: The file is damaged, its folder does not exist, or an enforced file does not exist.
    """
    if settings.lock is None:
        return None
    from ..transfer.lock import ImageLock

    return ImageLock(settings.lock, settings.locked)


def report_with_lock(
    results: Sequence[ImageResult],
    lock: ImageLock | None,
    check_mode: bool,
    failures: Sequence[str] = (),
    diffs: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return a module's result after the digests of the images were written to the lock file, if there is one.

    Args:
        failures: Further lines of the message; with any, the task fails.
        diffs: Further changes of the task, as ``--diff`` shows them.
    """
    if lock is None:
        return report(results, failures, diffs)
    copied = (result.plan.job.locked_as for result in results if not result.error)
    lock.update(locked_as for locked_as in copied if locked_as)
    try:
        if not check_mode:
            lock.save()
    except K8scrError as error:
        return report(results, [*failures, str(error)], diffs)
    return report(results, failures, [*diffs, lock.diff] if lock.changed else diffs)
