# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Push images to the cluster's registry: make jobs from the parameters of ``k8scr_push`` and copy them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.common.warnings import warn

from ..errors import InputError, K8scrError, SourceError
from ..files.compression import find_compression
from ..oci.digest_tag import digest_tag
from ..oci.interfaces import ImageSource, SourceImage
from ..oci.reference import Reference, parse_reference, target_name
from ..registry.capacity import Capacity, capacity
from ..registry.client import Registry
from ..registry.cluster import ClusterRegistry, cache_folder, connect_registry
from ..registry.inventory import Inventory
from ..registry.repository import Repository
from ..registry.upstreams import TRANSPORT, Upstreams
from ..stores.docker_daemon import TRANSPORT as DOCKER_DAEMON
from ..stores.docker_daemon import DockerDaemon
from ..stores.location import Location, open_source, parse_location
from ..transfer.compressed_layers import CompressedLayers, CompressingRepository
from ..transfer.execute import Transfer
from ..transfer.job import ImageCopy, ImageJob, PinnedDigest, unique_jobs
from ..transfer.listener import Listener, RetryLog
from ..transfer.overlay import with_canonical_digest
from ..transfer.pushed_images import PushedImages
from ..transfer.report import ImageResult, report
from ..transfer.space import SpaceCheck
from .image_settings import PushEntry, PushSettings

if TYPE_CHECKING:
    from ..stores.location import FileSource
    from ..transfer.lock import ImageLock
    from ..transfer.platforms import PlatformSource

_MOST_NAMES = 10
"""Names in one message."""


def run_push(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Push images and return the module's result.

    Raises:
        ClusterError: No cluster is configured, or its configuration cannot be used.
        InputError: An option is invalid, or two jobs write different images to one target.
    """
    settings = PushSettings.from_options(options)
    given, log = settings.registry, RetryLog()
    limits = given.connections, given.timeout, given.minimum_rate, given.retry_timeout
    with (
        closing(Upstreams(settings.upstreams, *limits, on_retry=log.retried)) as upstreams,
        connect_registry(settings.registry, writes=True, on_retry=log.retried) as registry,
    ):
        space = space_check(settings, registry)
        result = push_images(settings, check_mode, registry, cache_folder(), upstreams, log, space)
        return {**result, "retries": log.entries}


def push_images(
    settings: PushSettings,
    check_mode: bool,
    registry: Registry,
    cache: Path,
    upstreams: Upstreams,
    listener: Listener,
    space: SpaceCheck | None = None,
) -> dict[str, Any]:
    """Push images to a registry and return the module's result.

    Args:
        cache: The folder of this user's caches.
        listener: Receives the events of the transfer.
        space: Checks the free space before the first upload.
    """
    pushed = PushedImages(cache / "pushed", registry.identity)
    compression = find_compression(settings.compression)
    compressed = CompressedLayers(cache / "compressed", compression) if compression else None
    lock = None
    if settings.lock:
        from ..transfer.lock import ImageLock

        lock = ImageLock(settings.lock, settings.locked)
    with ExitStack() as exit_stack:
        daemon = exit_stack.enter_context(closing(DockerDaemon(settings.docker, settings.registry.connections)))
        reader = PushJobs(registry, settings, pushed, compressed, upstreams, daemon, lock, exit_stack)
        jobs = reader.read(settings.images)
        results = Transfer(settings.registry.connections, check_mode, settings.fail_fast, space).run(jobs, listener)
    if not check_mode:
        _remember(pushed, results)
    if lock is None:
        return report(results)
    lock.update(reader.names_of(results))
    try:
        if not check_mode:
            lock.save()
    except K8scrError as error:
        return report(results, [str(error)])
    return report(results, diffs=[lock.diff] if lock.changed else [])


def space_check(settings: PushSettings, registry: ClusterRegistry) -> SpaceCheck:
    """Return the check of the free space; it sends requests only when it is called."""
    given = settings.registry

    def read_capacity() -> Capacity:
        return capacity(registry.api_server, given.pod, registry.retries)

    def read_inventory() -> Inventory:
        from ..registry.inventory_reader import take_inventory

        return take_inventory(registry, given.connections)

    return SpaceCheck(settings.require_space, read_capacity, read_inventory, warn)


@dataclass
class PushJobs:
    """Makes jobs from the entries of the option ``images``.

    Attributes:
        compressed: How to compress layers, and the layers that earlier tasks compressed; ``None`` to leave them
            uncompressed.
        upstreams: The registries for ``docker://`` sources.
        daemon: The engine for ``docker-daemon:`` sources.
        exit_stack: Closes the sources after the transfer.
    """

    registry: Registry
    settings: PushSettings
    pushed: PushedImages
    compressed: CompressedLayers | None
    upstreams: Upstreams
    daemon: DockerDaemon
    lock: ImageLock | None
    exit_stack: ExitStack
    _sources: dict[Location, FileSource] = field(default_factory=dict)
    _names: dict[ImageJob, tuple[Reference, str]] = field(default_factory=dict)

    def read(self, entries: Sequence[PushEntry]) -> list[ImageJob]:
        """Return the jobs; an entry that cannot be read becomes a job with an error.

        Raises:
            InputError: Two jobs write different images to one tag.
        """
        self.upstreams.find_all(self._upstream_references(entries))
        jobs = unique_jobs(job for entry in entries for job in self._jobs(entry))
        _reject_collisions(jobs)
        return jobs

    def names_of(self, results: Sequence[ImageResult]) -> Iterator[tuple[Reference, str]]:
        """Yield the name and the identifying digest of each image that was copied or existed."""
        for result in results:
            if result.plan.job in self._names and not result.error:
                yield self._names[result.plan.job]

    def _jobs(self, entry: PushEntry) -> list[ImageJob]:
        text, name = entry.source, entry.name
        try:
            reference = parse_reference(name) if name else None
            source, images = self._open(entry)
            if name:
                images = [_only(images, text)]
        except K8scrError as error:
            return [ImageJob(name or text, source=text, error=error)]
        selection = None
        if entry.platforms:
            from ..transfer.platforms import PlatformSource

            selection = PlatformSource(source, entry.platforms)
        jobs = [self._job(source, selection, image, reference, text) for image in images]
        if entry.referrers:
            from ..transfer.referrers import referrer_jobs

            for job in list(jobs):
                if job.copy:
                    target_of = partial(target_name, job.copy.destination.repository)
                    jobs += referrer_jobs(job, source, target_of)
        return jobs

    def _open(self, entry: PushEntry) -> tuple[ImageSource, list[SourceImage]]:
        if entry.source.startswith(TRANSPORT):
            repository, image = self.upstreams.open(self._upstream_reference(entry))
            return repository, [replace(image, name=entry.upstream)]
        location = parse_location(entry.source)
        if location.transport == DOCKER_DAEMON:
            return self.daemon.open(location.name)
        source = self._open_files(replace(location, name=None))
        return source, source.images(location.name)

    def _open_files(self, location: Location) -> FileSource:
        """Open an archive or a layout once for all entries, because its list of images is read when it is opened."""
        tmp_dest = self.settings.docker.tmp_dest
        if location not in self._sources:
            self._sources[location] = self.exit_stack.enter_context(closing(open_source(location, tmp_dest)))
        return self._sources[location]

    def _upstream_references(self, entries: Iterable[PushEntry]) -> Iterator[Reference]:
        for entry in entries:
            # The entry's own job reports the error.
            with suppress(InputError):
                if entry.source.startswith(TRANSPORT):
                    yield self._upstream_reference(entry)

    def _upstream_reference(self, entry: PushEntry) -> Reference:
        """Return the reference to request from an upstream registry; an enforced lock file sets its digest."""
        reference = entry.upstream
        if self.lock and self.lock.enforced and not reference.digest:
            name = parse_reference(entry.name) if entry.name else reference
            return replace(reference, digest=self.lock.digest_of(name))
        return reference

    def _job(
        self,
        source: ImageSource,
        selection: PlatformSource | None,
        image: SourceImage,
        reference: Reference | None,
        text: str,
    ) -> ImageJob:
        name = reference or image.name
        try:
            if self.lock and name:
                self.lock.require(name, image, text)
            selected = selection.select(image) if selection else image
            job = self._named_job(selection or source, selected, reference or selected.name, text)
        except K8scrError as error:
            return ImageJob(str(name or text), source=text, error=error)
        if name:
            self._names[job] = name, image.identity
        return job

    def _named_job(self, source: ImageSource, image: SourceImage, name: Reference | None, text: str) -> ImageJob:
        digest = image.root.digest
        if name is None:
            missing = SourceError(f"image {digest} in {text} has no name", "Set its name with the option name")
            raise image.name_error or missing
        pinned = PinnedDigest(name, text) if name.digest else None
        if pinned:
            pinned.require(image)
        if name.tag and not image.deferred:
            source, image = with_canonical_digest(source, image)
        repository = name.repository(self.settings.qualify)
        others = dict.fromkeys((*self.settings.mount_from, *self.pushed.repositories(image.identity)))
        neighbors = tuple(Repository(self.registry, other) for other in others if other != repository)
        destination = Repository(self.registry, repository)
        # A compressed image has another digest, so an image that is requested by digest is copied unchanged.
        compressed = None if name.digest else self.compressed
        compressor = CompressingRepository(destination, compressed) if compressed else None
        # A registry names the manifests with tags by sha256, so this tag would not protect another digest.
        protection = digest_tag(digest) if name.tag is None and digest.startswith("sha256:") else None
        copy = ImageCopy(source, image, destination, name.tag, neighbors, compressor, pinned, protection)
        facts = {"repository": repository, "tag": name.tag}
        return ImageJob(str(name), copy, target_name(repository, name.tag or digest), text, facts)


def _only(images: Sequence[SourceImage], where: str) -> SourceImage:
    """Return the only image, which may have several names."""
    if not all(image.is_same(images[0]) for image in images):
        names = list(dict.fromkeys(str(image.name) for image in images if image.name))
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        known = f" of {', '.join(names[:_MOST_NAMES])}{more}" if names else ""
        raise InputError(
            f"{where} has {len(images)} images, which cannot all have the same name",
            f"Select one by its name or its position: {where}:@0 is the first{known:.2000}",
        )
    return images[0]


def _reject_collisions(jobs: Sequence[ImageJob]) -> None:
    targets: dict[str | None, ImageJob] = {}
    for job in jobs:
        other = targets.setdefault(job.target, job)
        if job.copy and other.copy and not other.copy.image.is_same(job.copy.image):
            raise InputError(
                f"{other.name} from {other.source} and {job.name} from {job.source}"
                f" are different images with the same target {job.target}",
                "Rename one of them, or keep their registries apart with qualify: true",
            )


def _remember(pushed: PushedImages, results: Sequence[ImageResult]) -> None:
    """Save the repositories of the pushed images. An engine may identify an image by another digest than its export."""
    for result in results:
        copy, loaded = result.plan.job.copy, result.plan.image
        if copy and loaded and not result.error:
            for identity in dict.fromkeys((copy.image.identity, loaded.identity)):
                pushed.remember(identity, copy.destination.repository)
    pushed.save()
