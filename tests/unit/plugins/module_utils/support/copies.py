# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies of images, as a task makes them, and their plans."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TypeVar

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.file_access import FolderFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.graph import walk_digests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.interfaces import (
    ImageDestination,
    ImageSource,
    SourceImage,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.docker_archive import DockerArchiveSource
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import open_source, parse_location
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import OciLayoutSource
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.execute import Transfer
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageCopy, ImageJob
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.plan import Action, ImagePlan, plan_images
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.referrers import (
    Attached,
    ReferrerSearch,
    find_referrers,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import ImageResult
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.shared_blobs import share_blobs

from .images import Image, write_docker_archive, write_layout
from .stores import read_image

Outcome = TypeVar("Outcome", ImagePlan, ImageResult)


def layout_copy(
    folder: Path,
    image: Image,
    destination: ImageDestination,
    tag: str | None = "1",
    leave_out: tuple[str, ...] = (),
) -> ImageCopy:
    """Return the copy of an image from a new layout, without some of its blobs."""
    write_layout(folder, {"image": image}, leave_out)
    return ImageCopy(OciLayoutSource(FolderFiles(folder)), SourceImage(image.root), destination, tag)


def docker_archive_copy(path: Path, image: Image, destination: ImageDestination) -> ImageCopy:
    """Return the copy of an image from a new Docker archive with uncompressed layers and without manifests."""
    source = DockerArchiveSource(TarFiles(write_docker_archive(path, [(["app:1"], image)])))
    (found,) = source.images()
    return ImageCopy(source, found, destination, "1")


def job_of(copy: ImageCopy) -> ImageJob:
    """Return the job for a copy."""
    return ImageJob(f"image:{copy.tag}", copy)


def plan_jobs(*jobs: ImageJob) -> list[ImagePlan]:
    """Plan jobs, with one request at a time; raise the first error."""
    return _raise_first_error(share_blobs(plan_images(jobs, 1, check_sources=False)))


def plan_copies(*copies: ImageCopy) -> list[ImagePlan]:
    """Plan copies, with one request at a time; raise the first error."""
    return plan_jobs(*map(job_of, copies))


def run_copies(*copies: ImageCopy) -> list[ImageResult]:
    """Copy images, with one request at a time; raise the first error."""
    return _raise_first_error(try_copies(*copies))


def try_copies(*copies: ImageCopy) -> list[ImageResult]:
    """Copy images, with one request at a time; return their results, failed ones too."""
    return Transfer(1).run(list(map(job_of, copies)))


def actions(outcome: ImagePlan | ImageResult) -> dict[str, Action]:
    """Return the action for each blob, by digest."""
    return {blob.descriptor.digest: blob.action for blob in outcome.blobs if blob.descriptor}


def read_location(location: str) -> dict[str, bytes]:
    """Return the content of the only image at a location, by digest."""
    with closing(open_source(parse_location(location))) as source:
        (found,) = source.images(parse_location(location).name)
        return read_image(source, found.root)


def attached_to(source: ImageSource, root: Descriptor) -> list[Attached]:
    """Return the referrers of an image, with one request at a time; raise the first error."""
    search = ReferrerSearch(source, walk_digests(source, root))
    find_referrers([search], 1)
    for error in search.errors:
        raise error
    return search.attached


def _raise_first_error(outcomes: list[Outcome]) -> list[Outcome]:
    for outcome in outcomes:
        if outcome.error:
            raise outcome.error
    return outcomes
