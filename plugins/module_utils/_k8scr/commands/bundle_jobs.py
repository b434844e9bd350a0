# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make the jobs that copy images to a bundle."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from ..oci.descriptor import Descriptor
from ..oci.interfaces import ImageDestination
from ..oci.reference import Reference
from ..registry.upstreams import TRANSPORT
from ..transfer.bundle_images import bundle_tag
from ..transfer.far_side import FarSide, WantedImage
from ..transfer.job import ImageCopy, ImageJob, ReferrersMode, reject_collisions
from .image_sources import ImageSources
from .sourced_image import SourcedImage


@dataclass(frozen=True)
class BundleJobs:
    """Makes jobs from the images of the sources.

    Attributes:
        destination: The bundle.
        far_side: What the other side has; ``None`` for a complete bundle.
        left_out: The digests of the images that the other side has, by their jobs.
    """

    destination: ImageDestination
    far_side: FarSide | None = None
    left_out: dict[ImageJob, str] = field(default_factory=dict)

    def read(self, sources: ImageSources) -> list[ImageJob]:
        """Return the jobs; an image that cannot be read is a job with an error.

        Raises:
            InputError: Two jobs write different images under one name.
        """
        jobs = [found if isinstance(found, ImageJob) else self._job(found) for found in sources.read()]
        reject_collisions(jobs, "Rename one of them")
        if not sources.bundles:
            return jobs
        from .left_out_images import require_left_out

        # The existing bundle is a local file.
        elsewhere = self.far_side.has_image if self.far_side else None
        return require_left_out(sources.bundles, jobs, _target, self._resolve, 1, elsewhere)

    def _resolve(self, name: Reference) -> Descriptor | None:
        return self.destination.resolve(bundle_tag(name) or name.digest or "")

    def _job(self, found: SourcedImage) -> ImageJob:
        name, tag, origin = str(found.name), bundle_tag(found.name), found.entry.source
        if self.far_side and self.far_side.leaves_out(_wanted(found)):
            job = ImageJob(name, None, tag or name, origin, locked_as=found.locked_as)
            self.left_out[job] = found.image.root.digest
            return job
        # Referrers have all blobs, so that signatures can be verified before anything is sent.
        omitted: Container[str] = self.far_side or ()
        copy = ImageCopy(found.source, found.image, self.destination, tag, pinned=found.pinned, omitted=omitted)
        return ImageJob(
            name,
            copy,
            tag or name,
            origin,
            locked_as=found.locked_as,
            verified=found.verified.to_result() if found.verified else None,
            referrers=found.referrers(str),
        )


def _target(name: Reference) -> str:
    return bundle_tag(name) or str(name)


def _wanted(found: SourcedImage) -> WantedImage:
    upstream = found.entry.upstream if found.entry.source.startswith(TRANSPORT) else None
    required = found.entry.referrers is ReferrersMode.ALWAYS
    return WantedImage(found.name, found.image, found.locked_as[1], upstream, found.entry.platforms, required)
