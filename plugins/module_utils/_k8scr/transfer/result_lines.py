# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines about the images of a task for users: one for each image, and the totals."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from .blob_counts import count_blobs
from .job import stays_behind
from .report import ImageResult
from .texts import counted, seconds_text, size_text

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
        # A task may copy an image without this referrer.
        failed = "not copied" if result.plan.job.subject and stays_behind(result.error) else "failed"
        return f"{name}  {failed}: {result.error.message}"
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
    referrers = [result for result in results if result.plan.job.subject]
    changed = [result for result in images if result.changed]
    unchanged = [result for result in images if not result.changed and not result.error]
    failed = [result for result in images if result.error]
    failed_referrers = [result for result in referrers if result.error]
    lines = (
        [image_line(each, None, True, verb) for each in (*changed, *failed, *failed_referrers)] if check_mode else []
    )
    if (changed or failed) and len(unchanged) <= _MOST_UNCHANGED:
        lines += [image_line(each, None, check_mode, verb) for each in unchanged]
    totals = _changes(changed, check_mode, verb)
    if totals:
        totals[0] += _duration(seconds, check_mode)
    copied = [result for result in referrers if result.changed]
    if copied:
        totals.append(f"{verb.text(check_mode)} {counted(len(copied), 'referrer')}{_size(copied)}")
    if unchanged:
        totals.append(f"{counted(len(unchanged), 'image')} unchanged")
    if failed:
        totals.append(f"{counted(len(failed), 'image')} failed")
    if failed_referrers:
        totals.append(f"{counted(len(failed_referrers), 'referrer')} failed")
    return [*lines, "; ".join(totals)] if totals else lines


def _changes(changed: Sequence[ImageResult], check_mode: bool, verb: Verb) -> list[str]:
    """Return the numbers of images whose layers are sent, of those with mounted layers only, and of the others."""
    counts = [count_blobs(each.plan, each.blobs) for each in changed]
    sent = [each for each, count in zip(changed, counts) if count.sent]
    mounted = sum(count.mounted > 0 and not count.sent for count in counts)
    rest = len(changed) - len(sent) - mounted
    parts = [f"{verb.text(check_mode)} {counted(len(sent), 'image')}{_size(sent)}"] if sent else []
    if mounted:
        parts.append(f"{_mount(check_mode)} the layers of {counted(mounted, 'image')}")
    if rest:
        parts.append(f"{verb.text(check_mode)} the manifest{'s' * (rest > 1)} of {counted(rest, 'image')}")
    return parts


def _size(results: Sequence[ImageResult]) -> str:
    size = sum(count_blobs(each.plan, each.blobs).size for each in results)
    return f", {size_text(size)}" if size else ""


def short_digest(digest: str) -> str:
    """Return the beginning of a digest, enough to recognise it."""
    return digest[:_DIGEST_LENGTH]


def _action(result: ImageResult, seconds: float | None, check_mode: bool, verb: Verb) -> str:
    counts, duration = count_blobs(result.plan, result.blobs), _duration(seconds, check_mode)
    if counts.sent:
        mounted = f", {_mount(check_mode)} {counted(counts.mounted, 'layer')}" if counts.mounted else ""
        return f"{verb.text(check_mode)} {counts.sent_layers}, {size_text(counts.size)}{duration}{mounted}"
    if counts.mounted:
        return f"{_mount(check_mode)} {counts.mounted_layers}{duration}"
    exist = "exists" if counts.layers == 1 else "exist"
    existing = f", {counted(counts.layers, 'layer')} {exist}" if counts.layers else ""
    return f"{verb.text(check_mode)} {counts.described}{duration}{existing}"


def _mount(check_mode: bool) -> str:
    return "would mount" if check_mode else "mounted"


def _duration(seconds: float | None, check_mode: bool) -> str:
    return f" in {seconds_text(seconds)}" if seconds is not None and not check_mode else ""
