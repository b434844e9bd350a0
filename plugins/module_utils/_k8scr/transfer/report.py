# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of images, and the report of a task: the report of the plans in check mode, of the results otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import DestinationError, K8scrError, failure_lines
from .blob_counts import count_blobs
from .plan import Action, BlobResult, ImagePlan
from .texts import size_text

_MOST_NAMES = 5
"""Images in one warning with the same reason."""
_MOST_REASONS = 3
"""Reasons in one warning."""


@dataclass(frozen=True)
class ReferrersReport:
    """The referrers of an image.

    Attributes:
        copied: The number of referrers that the destination has after the copy.
        left_out: The reasons why others stay behind.
    """

    copied: int = 0
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageResult:
    """The result for one image.

    Attributes:
        root: The digest with the tag after the copy; empty if it is not known yet.
        referrers: Its referrers; ``None`` if it has none or they were not looked for.
    """

    plan: ImagePlan
    root: str = ""
    blobs: tuple[BlobResult, ...] = ()
    error: K8scrError | None = None
    referrers: ReferrersReport | None = None

    @property
    def changed(self) -> bool:
        """Whether the copy changed the destination."""
        return self.plan.changes and not self.error


def because_of(plan: ImagePlan) -> DestinationError:
    """Return the error of an image that is not copied, because another image failed."""
    return DestinationError(f"not copied, because {plan.job.name} failed")


def fail(results: list[ImageResult], numbers: Iterable[int], error: K8scrError) -> None:
    """Set the error of images without one."""
    for number in numbers:
        results[number] = replace(results[number], error=results[number].error or error)


def report(
    results: Sequence[ImageResult], failures: Sequence[str] = (), diffs: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return a module's result: ``changed``, ``images``, ``diff``, ``warnings``, and ``msg`` after a failure.

    Args:
        failures: Further lines of the message; with any, the task fails.
        diffs: Further changes of the task, as ``--diff`` shows them.
    """
    changes = [result for result in results if result.changed]
    diff = _diff(changes)
    value: dict[str, Any] = {
        "changed": bool(changes or diffs),
        "images": [_entry(result) for result in results],
        "diff": [diff, *diffs] if diffs else diff,
    }
    warning = _warning_of(results)
    if warning:
        value["warnings"] = [warning]
    messages = [*_failures(results), *failures]
    if messages:
        value.update(failed=True, msg="\n".join(messages))
    return value


def _failures(results: Sequence[ImageResult]) -> list[str]:
    """Return the lines of the message about failed images.

    Referrers count as images only if one of them failed.
    """
    failures = [(result.plan.job.name, result.error) for result in results if result.error]
    if not failures:
        return []
    has_failed_referrer = any(result.error and result.plan.job.subject for result in results)
    total = sum(has_failed_referrer or not result.plan.job.subject for result in results)
    return [f"{len(failures)} of {total} images failed.", *failure_lines(failures)]


def _warning_of(results: Sequence[ImageResult]) -> str | None:
    """Return one warning about all referrers that stay behind."""
    names: dict[str, list[str]] = {}
    left_out = [(result, result.referrers.left_out) for result in results if result.referrers]
    for result, reasons in left_out:
        for reason in reasons:
            names.setdefault(reason, []).append(result.plan.job.name)
    if not names:
        return None
    count = sum(bool(reasons) for _result, reasons in left_out)
    total = sum(not result.plan.job.subject for result in results)
    shown = [f"{_few(images)}: {reason}" for reason, images in list(names.items())[:_MOST_REASONS]]
    more = [f"{len(names) - _MOST_REASONS} more reasons"] if len(names) > _MOST_REASONS else []
    return (
        f"Referrers, such as signatures, of {count} of {total} images are not copied."
        f" {'; '.join([*shown, *more]).rstrip('.')}."
        " images[].referrers.left_out of the result has all reasons. Set images[].referrers to false to copy no"
        " referrers, or to true to fail."
    )


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}"


def _entry(result: ImageResult) -> dict[str, Any]:
    plan, job = result.plan, result.plan.job
    source = {"source": job.source} if job.source else {}
    entry: dict[str, Any] = {"name": job.name, **source, **job.facts, "target": job.target}
    if job.subject:
        entry["subject"] = job.subject
    if job.verified:
        entry["verified"] = dict(job.verified)
    entry["changed"] = result.changed
    entry["digest"] = (result.root or None) if not result.error else None
    entry["digest_before"] = plan.before.digest if plan.before else None
    if result.error:
        entry["error"] = str(result.error)
        return entry
    for action in Action:
        sizes = [blob.size for blob in result.blobs if blob.action is action]
        entry[action.value] = {"blobs": len(sizes), "bytes": sum(sizes)}
    entry["blobs"] = [_blob_entry(blob) for blob in result.blobs]
    if result.referrers:
        entry["referrers"] = {"copied": result.referrers.copied, "left_out": list(result.referrers.left_out)}
    return entry


def _blob_entry(blob: BlobResult) -> dict[str, Any]:
    digest = blob.descriptor.digest if blob.descriptor else None
    entry = {"digest": digest, "size": blob.size, "action": blob.action.value}
    return {**entry, "uncompressed": blob.layer.digest} if blob.layer else entry


def _diff(changes: Sequence[ImageResult]) -> dict[str, str]:
    before = [f"{_shown_name(result)} {result.plan.before.digest}\n" for result in changes if result.plan.before]
    after = [f"{_shown_name(result)} {_after(result)}\n" for result in changes]
    return {"before": "".join(before), "after": "".join(after)}


def _shown_name(result: ImageResult) -> str:
    """Return the target of an image; its name if the target is only a digest, as of a referrer in a layout."""
    job = result.plan.job
    return job.name if job.target is None or job.target == result.root else job.target


def _after(result: ImageResult) -> str:
    """Return the new digest of an image, and what the copy sends: the plan, which is the same in check mode."""
    copy, digest = result.plan.job.copy, result.root or "(known after compression)"
    tag = f"tag {copy.digest_tag}: " if copy and copy.digest_tag else ""
    return f"{digest} ({tag}{_sent(result.plan)})"


def _sent(plan: ImagePlan) -> str:
    counts = count_blobs(plan, plan.blobs)
    parts = []
    if counts.sent:
        uncompressed = " uncompressed" if counts.is_uncompressed else ""
        parts.append(f"{counts.sent_layers}, {size_text(counts.size)}{uncompressed} to copy")
    if counts.mounted:
        parts.append(f"{counts.mounted_layers} to mount")
    return ", ".join(parts) or f"only {counts.described} to copy"
