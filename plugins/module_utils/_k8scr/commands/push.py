# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Push images to the cluster's registry: make jobs from the parameters of ``k8scr_push`` and copy them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.common.warnings import warn

from ..errors import K8scrError
from ..files.compression import find_compression
from ..oci.descriptor import Descriptor
from ..oci.digest_tag import digest_tag
from ..oci.reference import Reference, target_name
from ..registry.capacity import Capacity, capacity
from ..registry.client import Registry
from ..registry.cluster import ClusterRegistry, cache_folder
from ..registry.inventory import Inventory
from ..registry.repository import Repository
from ..registry.upstreams import Upstreams
from ..transfer.compressed_layers import CompressedLayers, CompressingRepository
from ..transfer.delivered_images import DeliveredImages, Listing
from ..transfer.execute import Transfer
from ..transfer.job import ImageCopy, ImageJob, reject_collisions
from ..transfer.listener import Listener
from ..transfer.overlay import with_canonical_digest
from ..transfer.progress import SILENT, Progress
from ..transfer.pushed_images import PushedImages
from ..transfer.report import ImageResult
from ..transfer.result_lines import Verb
from ..transfer.space import SpaceCheck
from ..transfer.texts import counted
from .delivered_names import delivered_images
from .image_settings import PushSettings
from .image_sources import ImageSources
from .lock_file import open_lock, report_with_lock
from .registry_transfer import registry_transfer
from .sourced_image import SourcedImage

PUSH_EMPTY_RESULT: Mapping[str, Any] = {"images": [], "selections": [], "retries": []}


def run_push(options: Mapping[str, Any], check_mode: bool, progress: Progress = SILENT) -> dict[str, Any]:
    """Push images and return the module's result.

    Raises:
        ClusterError: No cluster is configured, or its configuration cannot be used.
        InputError: An option is invalid, or two jobs write different images to one target.
    """
    settings = PushSettings.from_options(options)
    given = settings.registry
    limits = given.connections, given.timeout, given.minimum_rate, given.retry_timeout
    with registry_transfer(given, True, progress, Verb.UPLOAD) as (registry, listener, log):
        space = space_check(settings, registry)
        delivered = delivered_images(registry, given.pod, given.connections)
        with closing(Upstreams(settings.sources.upstreams, *limits, listener.retried, listener.recovered)) as upstreams:
            result = push_images(settings, check_mode, registry, cache_folder(), upstreams, listener, space, delivered)
    return {**result, "retries": log.entries}


def push_images(
    settings: PushSettings,
    check_mode: bool,
    registry: Registry,
    cache: Path,
    upstreams: Upstreams,
    listener: Listener,
    space: SpaceCheck | None = None,
    delivered: DeliveredImages | None = None,
) -> dict[str, Any]:
    """Push images to a registry and return the module's result.

    Args:
        cache: The folder of this user's caches.
        listener: Receives the events of the transfer.
        space: Checks the free space before the first upload.
        delivered: The list of the registry's images, to which the pushed and unchanged images are added.
    """
    pushed = PushedImages(cache / "pushed", registry.identity)
    compression = find_compression(settings.compression)
    compressed = CompressedLayers(cache / "compressed", compression) if compression else None
    lock = open_lock(settings.sources)
    with ExitStack() as exit_stack:
        sources = ImageSources(settings.sources, upstreams, lock, exit_stack)
        listener.phase_started(f"reading {counted(len(settings.sources.images), 'source')}")
        jobs = PushJobs(registry, settings, pushed, compressed).read(sources)
        results = Transfer(settings.registry.connections, check_mode, settings.fail_fast, space).run(jobs, listener)
    if not check_mode:
        _remember(pushed, results)
    listing = delivered.add(results, check_mode) if delivered else Listing()
    return {**report_with_lock(results, lock, check_mode, listing.failures, listing.diffs), **sources.result}


def space_check(settings: PushSettings, registry: ClusterRegistry) -> SpaceCheck:
    """Return the check of the free space; it sends requests only when it is called."""
    given = settings.registry

    def read_capacity() -> Capacity:
        return capacity(registry.api_server, given.pod, registry.retries)

    def read_inventory() -> Inventory:
        from ..registry.inventory_reader import take_inventory

        return take_inventory(registry, given.connections)

    return SpaceCheck(settings.require_space, read_capacity, read_inventory, warn)


@dataclass(frozen=True)
class PushJobs:
    """Makes jobs from the images of the sources.

    Attributes:
        compressed: How to compress layers, and the layers that earlier tasks compressed; ``None`` to leave them
            uncompressed.
    """

    registry: Registry
    settings: PushSettings
    pushed: PushedImages
    compressed: CompressedLayers | None

    def read(self, sources: ImageSources) -> list[ImageJob]:
        """Return the jobs; an image that cannot be read is a job with an error.

        Raises:
            InputError: Two jobs write different images to one tag.
        """
        jobs = [self._job_or_error(found) for found in sources.read()]
        reject_collisions(jobs, "Rename one of them, or keep their registries apart with qualify: true")
        if not sources.bundles:
            return jobs
        from .left_out_images import require_left_out

        connections = self.settings.registry.connections
        return require_left_out(sources.bundles, jobs, self._target, self._resolve, connections)

    def _target(self, name: Reference) -> str:
        return target_name(name.repository(self.settings.qualify), name.tag or name.digest or "")

    def _resolve(self, name: Reference) -> Descriptor | None:
        repository = Repository(self.registry, name.repository(self.settings.qualify))
        return repository.resolve(name.tag or name.digest or "")

    def _job_or_error(self, found: SourcedImage | ImageJob) -> ImageJob:
        if isinstance(found, ImageJob):
            return found
        try:
            return self._job(found)
        except K8scrError as error:
            return ImageJob(str(found.name), source=found.entry.source, error=error)

    def _job(self, found: SourcedImage) -> ImageJob:
        source, image, name = found.source, found.image, found.name
        digest = image.root.digest
        if name.tag and not image.deferred:
            source, image = with_canonical_digest(source, image)
        repository = name.repository(self.settings.qualify)
        base = image.sparse.repositories(image.root) if image.sparse else ()
        others = dict.fromkeys((*self.settings.mount_from, *self.pushed.repositories(image.identity), *base))
        neighbors = tuple(Repository(self.registry, other) for other in others if other != repository)
        destination = Repository(self.registry, repository)
        # A compressed image has another digest, so an image that is requested by digest is copied unchanged.
        compressed = None if name.digest else self.compressed
        compressor = CompressingRepository(destination, compressed) if compressed else None
        # A registry names the manifests with tags by sha256, so this tag would not protect another digest.
        protection = digest_tag(digest) if name.tag is None and digest.startswith("sha256:") else None
        copy = ImageCopy(source, image, destination, name.tag, neighbors, compressor, found.pinned, protection)
        facts = {"repository": repository, "tag": name.tag}
        target = target_name(repository, name.tag or digest)
        return ImageJob(
            str(name),
            copy,
            target,
            found.entry.source,
            facts,
            locked_as=found.locked_as,
            verified=found.verified.to_result() if found.verified else None,
            referrers=found.referrers(partial(target_name, repository)),
        )


def _remember(pushed: PushedImages, results: Sequence[ImageResult]) -> None:
    """Save the repositories of the pushed images. An engine may identify an image by another digest than its export."""
    for result in results:
        copy, loaded = result.plan.job.copy, result.plan.image
        if copy and loaded and not result.error:
            for identity in dict.fromkeys((copy.image.identity, loaded.identity)):
                pushed.remember(identity, copy.destination.repository)
    pushed.save()
