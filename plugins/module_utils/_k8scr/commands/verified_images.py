# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify the signatures of a task's images before any of them is copied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ..errors import K8scrError
from ..oci.interfaces import ImageSource
from ..signatures.checks import SignatureChecks
from ..signatures.policy import Policy
from ..transfer.job import ImageJob
from ..transfer.remembered_referrers import RememberedReferrers, SourceWithReferrers
from .sourced_image import SourcedImage


def verify_images(
    images: Iterable[SourcedImage | ImageJob], policies: Sequence[Policy], connections: int
) -> list[SourcedImage | ImageJob]:
    """Return the images with their verified signatures, in the same order; the other images are jobs with an error.

    Args:
        policies: The policies of the option ``verify``.
        connections: The number of images to verify at once.
    """
    checks = SignatureChecks(policies)
    remembered: dict[str, RememberedReferrers] = {}

    def remember(source: ImageSource) -> ImageSource:
        """Return the source with referrers that the copy does not look up again."""
        if source.referrers is None:
            return source
        known = remembered.setdefault(source.description, RememberedReferrers(source.referrers))
        return SourceWithReferrers(source, known)

    def verify(found: SourcedImage | ImageJob) -> SourcedImage | ImageJob:
        if isinstance(found, ImageJob):
            return found
        source = remember(found.complete_source)
        try:
            verified = checks.check(source, found.complete_image, found.name)
        except K8scrError as error:
            return ImageJob(str(found.name), source=found.entry.source, error=error)
        return replace(found, complete_source=source, verified=verified)

    with ThreadPoolExecutor(connections) as workers:
        return list(workers.map(verify, images))
