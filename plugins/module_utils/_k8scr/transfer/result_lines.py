# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines about the images of a task for users: one for each image, and the totals."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from .blob_counts import count_blobs, counted
from .meter import seconds_text, size_text
from .report import ImageResult

_MOST_UNCHANGED = 20
"""Unchanged images that the last lines of a task name; more are counted."""
_DIGEST_LENGTH = len("sha256:") + 12


class Verb(Enum):
    """What a module does with layers, in the past and in the infinitive."""

    UPLOAD = ("uploaded", "upload")
    DOWNLOAD = ("downloaded", "download")
    WRITE = ("wrote", "write")
    COPY = ("copied", "copy")

    def text(self, check_mode: bool) -> str:
        """Return the verb for what was done, or in check mode for what would be done."""
        done, planned = self.value
        return f"would {planned}" if check_mode else done


def image_line(
    result: ImageResult, seconds: float | None = None, check_mode: bool = False, verb: Verb = Verb.UPLOAD
) -> str:
    """Return the line about an image: its name, its digest, and what was copied or why it failed.

    Args:
        seconds: The duration of its copy; ``None`` if it is unknown.
    """
    name = result.plan.job.name
    if result.error:
        return f"{name}  failed: {result.error.message}"
    digest = short_digest(result.root) if result.root else "digest known after compression"
    parts = [_action(result, seconds, check_mode, verb)] if result.changed else ["unchanged"]
    if result.referrers and result.referrers.copied:
        parts.append(f"with {counted(result.referrers.copied, 'referrer')}")
    return f"{name} → {digest}  {', '.join(parts)}"


def closing_lines(
    results: Sequence[ImageResult],
    seconds: float | None = None,
    check_mode: bool = False,
    verb: Verb = Verb.UPLOAD,
) -> list[str]:
    """Return the last lines of a task: its unchanged images and the totals; in check mode also the planned copies.

    Args:
        seconds: The duration of the task.
    """
    images = [result for result in results if not result.plan.job.subject]
    changed = [result for result in images if result.changed]
    unchanged = [result for result in images if not result.changed and not result.error]
    failed = [result for result in images if result.error]
    lines = [image_line(each, None, True, verb) for each in (*changed, *failed)] if check_mode else []
    if (changed or failed) and len(unchanged) <= _MOST_UNCHANGED:
        lines += [image_line(each, None, check_mode, verb) for each in unchanged]
    totals = []
    if changed:
        size = size_text(sum(count_blobs(each.plan, each.blobs).size for each in results if each.changed))
        duration = f" in {seconds_text(seconds)}" if seconds is not None and not check_mode else ""
        totals.append(f"{verb.text(check_mode)} {counted(len(changed), 'image')}, {size}{duration}")
    referrers = sum(result.changed for result in results if result.plan.job.subject)
    if referrers:
        totals.append(f"{verb.text(check_mode)} {counted(referrers, 'referrer')}")
    if unchanged:
        totals.append(f"{counted(len(unchanged), 'image')} unchanged")
    if failed:
        totals.append(f"{counted(len(failed), 'image')} failed")
    return [*lines, "; ".join(totals)] if totals else lines


def short_digest(digest: str) -> str:
    """Return the beginning of a digest, enough to recognise it."""
    return digest[:_DIGEST_LENGTH]


def _action(result: ImageResult, seconds: float | None, check_mode: bool, verb: Verb) -> str:
    counts = count_blobs(result.plan, result.blobs)
    parts = []
    if counts.size:
        duration = f" in {seconds_text(seconds)}" if seconds is not None and not check_mode else ""
        parts.append(f"{verb.text(check_mode)} {counts.sent_layers}, {size_text(counts.size)}{duration}")
    elif not counts.mounted:
        exist = f", {counted(counts.layers, 'layer')} exist" if counts.layers else ""
        parts.append(f"{verb.text(check_mode)} the manifest{exist}")
    if counts.mounted:
        mount = "would mount" if check_mode else "mounted"
        share = "" if counts.size else f"{counts.mounted} of "
        parts.append(f"{mount} {share}{counted(counts.mounted if counts.size else counts.layers, 'layer')}")
    return ", ".join(parts)
