# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that the destination has the images that a delta leaves out, before any image of the delta is copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ..errors import K8scrError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.reference import Reference, parse_workload_reference
from ..stores.bundle_format import BundleImage
from ..stores.bundle_source import BundleSource
from ..transfer.job import ImageJob

_MOST_NAMES = 10
"""Names in one message."""


def require_left_out(
    bundles: Mapping[str, BundleSource],
    jobs: Sequence[ImageJob],
    target_of: Callable[[Reference], str],
    resolve: Callable[[Reference], Descriptor | None],
    connections: int,
    elsewhere: Callable[[BundleImage], bool] | None = None,
) -> list[ImageJob]:
    """Return the jobs of a task. If images are missing, they and all images of their bundle are jobs with an error.

    Args:
        bundles: The bundles of the task by the sources of their jobs.
        target_of: Returns the target of an image at the destination.
        resolve: Looks up an image at the destination by its tag, or by its digest without one.
        connections: The maximum number of requests at once.
        elsewhere: Whether an image need not be at the destination, which is a bundle that leaves it out too.
    """
    copied = {job.target for job in jobs if job.copy}

    def check(image: BundleImage) -> ImageJob | None:
        """Return a job for a missing image, with the error if it cannot be looked up."""
        target: str | None = None
        try:
            name = parse_workload_reference(image.name)
            target = target_of(name)
            if target in copied or (elsewhere and elsewhere(image)):
                return None
            found = resolve(name if name.tag else replace(name, digest=image.digest))
        except K8scrError as error:
            return ImageJob(image.name, target=target, error=error)
        # A registry names the manifests with tags by sha256.
        same = found and (found.digest == image.digest or not image.digest.startswith("sha256:"))
        return None if same else ImageJob(image.name, target=target)

    for source, bundle in bundles.items():
        with ThreadPoolExecutor(connections) as workers:
            missing = [job for job in workers.map(check, bundle.bundle.left_out) if job]
        if missing:
            error = _error(bundle, missing)
            failed = [replace(job, copy=None, error=job.error or error) for job in jobs if job.source == source]
            jobs = [*(job for job in jobs if job.source != source), *failed]
            jobs += [replace(job, source=source, error=job.error or error) for job in missing]
    return list(jobs)


def _error(bundle: BundleSource, missing: Sequence[ImageJob]) -> SourceError:
    digests = {image.name: image.digest for image in bundle.bundle.left_out}
    names = [f"{job.name} ({digests[job.name]})" for job in missing]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return SourceError(
        f"{bundle.description} leaves out images that the destination does not have",
        f"Deliver the base of this bundle first: {', '.join(names[:_MOST_NAMES])}{more}",
    )
