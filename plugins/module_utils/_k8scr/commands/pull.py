# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what the user writes to ``k8scr_pull`` to images on their way out of the cluster's registry."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, cast

from ..errors import InputError, K8scrError, SourceError
from ..oci.interfaces import ImageSource, SourceImage
from ..oci.reference import Reference, parse_reference
from ..registry.client import Registry
from ..registry.cluster import connect_registry
from ..registry.repository import Repository
from ..stores.docker_daemon import TRANSPORT as DOCKER_DAEMON
from ..stores.docker_daemon import DockerDaemon
from ..stores.location import Location, open_destination, parse_location
from ..transfer.execute import Delivery, Order, failing, without_repetition
from ..transfer.plan import ImageCopy
from .image_entries import PullEntry
from .pull_settings import PullSettings

if TYPE_CHECKING:
    from ..stores.docker_daemon_image import DockerDaemonDestination
    from ..stores.location import FileDestination

    _Destination = Union[FileDestination, DockerDaemonDestination]


def run_pull(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Pull images and return the module's result.

    Args:
        options: The parameters of ``k8scr_pull``.
        check_mode: Whether to only say what would happen.

    Raises:
        ClusterError: The options lead to no cluster.
        InputError: The images cannot all be pulled as asked.
    """
    settings = PullSettings.from_options(options)
    with connect_registry(settings.registry, writes=False) as registry:
        return {**pull_images(settings, check_mode, registry), "retries": registry.retries.account}


def pull_images(settings: PullSettings, check_mode: bool, registry: Registry) -> dict[str, Any]:
    """Pull images from a registry and return the module's result; see :func:`run_pull`."""
    delivery = Delivery(settings.registry.connections, check_mode, settings.fail_fast)
    with ExitStack() as opened:
        daemon = opened.enter_context(closing(DockerDaemon(settings.docker)))
        return delivery.run(PullOrders(registry, settings.qualify, daemon, opened).read(settings.images))


class PullOrders:
    """The orders for the entries of the option ``images``.

    Args:
        registry: The cluster's registry.
        qualify: Whether the repositories there begin with the images' hosts.
        daemon: The Docker daemon that images are loaded into.
        opened: Is told of the destinations, which must be open until the orders are carried out.
    """

    def __init__(self, registry: Registry, qualify: bool, daemon: DockerDaemon, opened: ExitStack) -> None:
        self._opened = opened
        self._daemon = daemon
        self._registry = registry
        self._qualify = qualify
        self._destinations: dict[Location, FileDestination] = {}
        self._transports: dict[Path, str] = {}
        self._targets: dict[tuple[Location, str | None], PullEntry] = {}

    def read(self, images: Sequence[PullEntry]) -> list[Order]:
        """Return them.

        Raises:
            InputError: Two images would be written under one name.
        """
        return without_repetition(order for entry in images for order in self._orders(entry))

    def _orders(self, wanted: PullEntry) -> list[Order]:
        reference, location = wanted.reference, parse_location(wanted.dest)
        tag = _name_there(location, reference)
        place = self._place(location)
        facts: dict[str, Any] = {
            "repository": reference.repository(self._qualify),
            "tag": reference.tag,
            "dest": wanted.dest,
            "target": _target(location, tag or str(reference.digest)),
        }
        same = self._targets.setdefault((place, tag or reference.digest), wanted)
        if (same.reference, same.platforms) != (wanted.reference, wanted.platforms):
            raise InputError(f"{same.reference} and {wanted.reference} would both be written to {facts['target']}")
        try:
            destination = self._destinations.get(place) or self._open(place)
        except K8scrError as error:
            return [Order(str(reference), failing(error), facts)]
        order = Order(str(reference), lambda: self._prepare(wanted, location, destination, tag, facts), facts)
        return self._with_referrers(order, location) if wanted.referrers else [order]

    def _with_referrers(self, order: Order, location: Location) -> list[Order]:
        from ..transfer.referrer_jobs import orders_beside

        try:
            copy = order.copy = order.prepare()
        except K8scrError as error:
            return [replace(order, prepare=failing(error))]
        order.prepare = lambda: copy
        source = Repository(self._registry, order.facts["repository"])
        return [order, *orders_beside(order, source, lambda tag: _target(location, tag))]

    def _place(self, location: Location) -> Location:
        if location.transport == DOCKER_DAEMON:
            return Location(DOCKER_DAEMON, Path())
        place = Location(location.transport, Path(os.path.realpath(location.path)))
        transport = self._transports.setdefault(place.path, place.transport)
        if transport != place.transport:
            raise InputError(f"{place.path} cannot be {transport}: and {place.transport}: at once", "Name two places")
        return place

    def _open(self, place: Location) -> _Destination:
        if place.transport == DOCKER_DAEMON:
            return self._daemon.destination()
        destination = open_destination(place)
        self._opened.callback(destination.close)
        self._destinations[place] = destination
        return destination

    def _prepare(
        self,
        wanted: PullEntry,
        location: Location,
        destination: _Destination,
        tag: str | None,
        facts: dict[str, Any],
    ) -> ImageCopy:
        reference = wanted.reference
        repository = Repository(self._registry, reference.repository(self._qualify))
        root = repository.resolve(reference.digest or reference.tag or "latest")
        if root is None:
            raise SourceError(
                f"there is no image {reference.tag or reference.digest} in {repository.description}",
                "Push it first, or see whether it was pushed with the other setting of qualify",
            )
        source: ImageSource = repository
        image = SourceImage(root, reference)
        if wanted.platforms:
            from ..transfer.platforms import PlatformSource

            source = selection = PlatformSource(repository, wanted.platforms)
            image = selection.select(image)
            if not tag:
                facts["target"] = _target(location, image.root.digest)
        if location.transport == DOCKER_DAEMON:
            image = cast("DockerDaemonDestination", destination).select(source, image)
        return ImageCopy(source, image, destination, tag)


def _target(location: Location, tag: str) -> str:
    return f"{location}{tag}" if location.transport == DOCKER_DAEMON else f"{location}:{tag}"


def _name_there(location: Location, reference: Reference) -> str | None:
    if location.transport != DOCKER_DAEMON:
        return location.name or (str(replace(reference, digest=None)) if reference.tag else None)
    name = parse_reference(location.name) if location.name else replace(reference, digest=None)
    if not name.tag or name.digest:
        raise InputError(
            f"{location.name or reference} has no tag alone, and the Docker daemon knows images by name and tag",
            f"Write the name that it shall have there into its dest: {DOCKER_DAEMON}:NAME:TAG",
        )
    return str(name)
