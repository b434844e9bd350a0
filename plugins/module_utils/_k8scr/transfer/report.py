# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of images, and the report of a task: the report of the plans in check mode, of the results otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import K8scrError
from .plan import Action, BlobResult, ImagePlan


@dataclass(frozen=True)
class ImageResult:
    """The result for one image.

    Attributes:
        root: The digest with the tag after the copy; empty if it is not known yet.
    """

    plan: ImagePlan
    root: str = ""
    blobs: tuple[BlobResult, ...] = ()
    error: K8scrError | None = None

    @property
    def changed(self) -> bool:
        """Whether the copy changed the destination."""
        return self.plan.changes and not self.error


def report(results: Sequence[ImageResult]) -> dict[str, Any]:
    """Return a module's result: ``changed``, ``images``, ``diff``, and ``msg`` and ``failed`` if an image failed."""
    images = [_entry(result) for result in results]
    changes = [image for image in images if image["changed"]]
    value: dict[str, Any] = {
        "changed": bool(changes),
        "images": images,
        "diff": {
            "before": "".join(_diff_line(image, "digest_before") for image in changes),
            "after": "".join(_diff_line(image, "digest") for image in changes),
        },
    }
    failed = [result for result in results if result.error]
    if failed:
        reasons = _reasons(failed)
        lines = [f"{len(failed)} of {len(results)} images failed.", *reasons]
        value.update(failed=True, msg=(" " if len(reasons) == 1 else "\n").join(lines))
    return value


def _reasons(failed: Sequence[ImageResult]) -> list[str]:
    """Return a line for each failed image; images with the same error share one."""
    names: dict[str, list[str]] = {}
    for result in failed:
        names.setdefault(str(result.error), []).append(result.plan.job.name)
    return [f"{', '.join(images)}: {error}" for error, images in names.items()]


def _entry(result: ImageResult) -> dict[str, Any]:
    plan, job = result.plan, result.plan.job
    entry: dict[str, Any] = {"name": job.name, **job.facts, "target": job.target}
    if job.subject:
        entry["subject"] = job.subject
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
    return entry


def _blob_entry(blob: BlobResult) -> dict[str, Any]:
    digest = blob.descriptor.digest if blob.descriptor else None
    entry = {"digest": digest, "size": blob.size, "action": blob.action.value}
    return {**entry, "uncompressed": blob.layer.digest} if blob.layer else entry


def _diff_line(image: dict[str, Any], key: str) -> str:
    if key == "digest" and not image[key]:
        return f"{image['target']} (known after compression)\n"
    return f"{image['target']} {image[key]}\n" if image[key] else ""
