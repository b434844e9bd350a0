# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pull images from the cluster's registry: make jobs from the parameters of ``k8scr_pull`` and copy them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, K8scrError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.interfaces import ImageDestination, ImageSource, SourceImage
from ..oci.reference import Reference, parse_reference
from ..registry.client import Registry
from ..registry.repository import Repository
from ..stores.docker_daemon import TRANSPORT as DOCKER_DAEMON
from ..stores.docker_daemon import DockerDaemon
from ..stores.location import Location, open_destination, parse_location
from ..transfer.execute import Transfer
from ..transfer.job import ImageCopy, ImageJob, WantedReferrers
from ..transfer.listener import Listener
from ..transfer.progress import SILENT, Progress
from ..transfer.report import report
from ..transfer.result_lines import Verb
from ..transfer.texts import counted
from .image_entries import PullEntry
from .image_settings import PullSettings
from .registry_transfer import registry_transfer

if TYPE_CHECKING:
    from ..stores.docker_daemon_image import DockerDaemonDestination
    from ..stores.location import FileDestination

PULL_EMPTY_RESULT: Mapping[str, Any] = {"images": [], "retries": []}


def run_pull(options: Mapping[str, Any], check_mode: bool, progress: Progress = SILENT) -> dict[str, Any]:
    """Pull images and return the module's result.

    Raises:
        ClusterError: No cluster is configured, or its configuration cannot be used.
        InputError: An option is invalid, or two entries write different images to one target.
    """
    settings = PullSettings.from_options(options)
    with registry_transfer(settings.registry, False, progress, Verb.DOWNLOAD) as (registry, listener, log):
        return {**pull_images(settings, check_mode, registry, listener), "retries": log.entries}


def pull_images(settings: PullSettings, check_mode: bool, registry: Registry, listener: Listener) -> dict[str, Any]:
    """Pull images from a registry and return the module's result."""
    connections = settings.registry.connections
    with ExitStack() as exit_stack:
        daemon = exit_stack.enter_context(closing(DockerDaemon(settings.docker)))
        listener.phase_started(f"reading {counted(len(settings.images), 'image')}")
        jobs = PullJobs(registry, settings, daemon, exit_stack).read(settings.images)
        return report(Transfer(connections, check_mode, settings.fail_fast).run(jobs, listener))


@dataclass
class PullJobs:
    """Makes jobs from the entries of the option ``images``.

    Attributes:
        daemon: The engine for ``docker-daemon:`` destinations.
        exit_stack: Closes the destinations after the transfer.
    """

    registry: Registry
    settings: PullSettings
    daemon: DockerDaemon
    exit_stack: ExitStack
    _destinations: dict[Location, FileDestination] = field(default_factory=dict)
    _transports: dict[Path, str] = field(default_factory=dict)
    _targets: dict[tuple[Location, str | None], PullEntry] = field(default_factory=dict)

    def read(self, entries: Sequence[PullEntry]) -> list[ImageJob]:
        """Return the jobs; an image that cannot be found becomes a job with an error.

        Raises:
            InputError: Two entries write different images to one target.
        """
        requests = [self._request(entry) for entry in entries]
        with ThreadPoolExecutor(self.settings.registry.connections) as workers:
            return list(workers.map(self._job, requests))

    def _request(self, entry: PullEntry) -> _Request:
        reference, location = entry.reference, parse_location(entry.dest)
        tag = _name_at(location, reference)
        store = self._store(location)
        same = self._targets.setdefault((store, tag or reference.digest), entry)
        if (same.reference, same.platforms) != (entry.reference, entry.platforms):
            target = _target(location, tag or str(reference.digest))
            raise InputError(f"{same.reference} and {reference} would both be written to {target}")
        try:
            if location.transport == DOCKER_DAEMON:
                engine = self.daemon.destination()
                return _Request(entry, location, tag, engine, engine)
            return _Request(entry, location, tag, self._open(store))
        except K8scrError as error:
            return _Request(entry, location, tag, error=error)

    def _store(self, location: Location) -> Location:
        """Return the location of the folder, archive or engine, without the image's name."""
        if location.transport == DOCKER_DAEMON:
            return Location(DOCKER_DAEMON, Path())
        store = Location(location.transport, Path(os.path.realpath(location.path)))
        transport = self._transports.setdefault(store.path, store.transport)
        if transport != store.transport:
            raise InputError(f"{store.path} cannot be {transport}: and {store.transport}: at once", "Use two paths")
        return store

    def _open(self, store: Location) -> FileDestination:
        """Open a folder or an archive once for all entries."""
        if store not in self._destinations:
            self._destinations[store] = self.exit_stack.enter_context(closing(open_destination(store)))
        return self._destinations[store]

    def _job(self, request: _Request) -> ImageJob:
        reference, location = request.entry.reference, request.location
        repository = Repository(self.registry, reference.repository(self.settings.qualify))
        facts = {"repository": repository.repository, "tag": reference.tag, "dest": request.entry.dest}
        target = _target(location, request.tag or str(reference.digest))
        if request.destination is None:
            return ImageJob(str(reference), None, target, facts=facts, error=request.error)
        try:
            copy, complete = _find_copy(repository, request, request.destination)
        except K8scrError as error:
            return ImageJob(str(reference), None, target, facts=facts, error=error)
        if request.entry.platforms and not request.tag:
            target = _target(location, copy.image.root.digest)
        replaced = complete if complete != copy.image.root else None
        referrers = WantedReferrers(request.entry.referrers, repository, partial(_target, location), replaced)
        return ImageJob(str(reference), copy, target, facts=facts, referrers=referrers)


def _find_copy(
    repository: Repository, request: _Request, destination: ImageDestination
) -> tuple[ImageCopy, Descriptor]:
    """Find an image in the registry, with the part of it that the destination stores; also return all of it."""
    reference, platforms = request.entry.reference, request.entry.platforms
    root = repository.resolve(reference.digest or reference.tag or "latest")
    if root is None:
        raise SourceError(
            f"there is no image {reference.tag or reference.digest} in {repository.description}",
            "Push it first, or check whether it was pushed with the other setting of qualify",
        )
    source: ImageSource = repository
    image = SourceImage(root, reference)
    if platforms:
        from ..transfer.platforms import PlatformSource

        source = selection = PlatformSource(repository, platforms)
        image = selection.select(image)
    if request.engine:
        image = request.engine.select(source, image)
    return ImageCopy(source, image, destination, request.tag), root


@dataclass(frozen=True)
class _Request:
    """An entry with its destination, before the image is looked up.

    Attributes:
        tag: The image's name at the destination.
        destination: The destination; ``None`` if an error prevents opening it.
        engine: The destination, if it is an engine.
    """

    entry: PullEntry
    location: Location
    tag: str | None
    destination: ImageDestination | None = None
    engine: DockerDaemonDestination | None = None
    error: K8scrError | None = None


def _target(location: Location, tag: str) -> str:
    return f"{location}{tag}" if location.transport == DOCKER_DAEMON else f"{location}:{tag}"


def _name_at(location: Location, reference: Reference) -> str | None:
    if location.transport != DOCKER_DAEMON:
        return location.name or (str(replace(reference, digest=None)) if reference.tag else None)
    name = parse_reference(location.name) if location.name else replace(reference, digest=None)
    if not name.tag or name.digest:
        raise InputError(
            f"{location.name or reference} has no tag or has a digest: the Docker daemon stores images by name and tag",
            f"Add the name for the image to dest: {DOCKER_DAEMON}:NAME:TAG",
        )
    return str(name)
