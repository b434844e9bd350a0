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
from typing import Any

from .cluster_registry import connect_registry
from .copy import ImageCopy
from .delivery import Delivery, Order
from .errors import InputError, K8scrError, SourceError
from .oci.reference import Reference, parse_reference
from .stores.docker_daemon import TRANSPORT as DOCKER_DAEMON
from .stores.docker_daemon import DockerDaemon, DockerDaemonDestination
from .stores.location import FileDestination, Location, open_destination, parse_location
from .stores.registry import Registry
from .stores.store import SourceImage


def run_pull(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Pull images and return the module's result.

    Args:
        options: The parameters of ``k8scr_pull``.
        check_mode: Whether to only say what would happen.

    Raises:
        ClusterError: The options lead to no cluster.
        InputError: The images cannot all be pulled as asked.
    """
    delivery = Delivery(options["connections"], check_mode, options["fail_fast"])
    with ExitStack() as opened:
        registry = opened.enter_context(connect_registry(options))
        daemon = opened.enter_context(closing(DockerDaemon(options)))
        result = delivery.run(PullOrders(registry, options["qualify"], daemon, opened).read(options["images"]))
        return {**result, "retries": registry.retries.account}


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
        self._targets: dict[tuple[Location, str | None], str] = {}

    def read(self, images: Sequence[Any]) -> list[Order]:
        """Return them.

        Raises:
            InputError: An entry is no image to pull, or two would be written under one name.
        """
        return [self._order(entry) for entry in images]

    def _order(self, entry: Any) -> Order:
        name, dest = _read_entry(entry)
        reference = parse_reference(name)
        location = parse_location(dest)
        tag = _name_there(location, reference)
        if location.transport == DOCKER_DAEMON:
            place, target = Location(DOCKER_DAEMON, Path()), f"{location}{tag}"
        else:
            place, target = self._place(location), f"{location}:{tag or reference.digest}"
        other = self._targets.setdefault((place, tag or reference.digest), str(reference))
        if other != str(reference):
            raise InputError(f"{other} and {reference} would both be written to {target}")
        facts = {
            "repository": reference.repository(self._qualify),
            "tag": reference.tag,
            "dest": dest,
            "target": target,
        }
        try:
            destination = self._destinations.get(place) or self._open(place)
        except K8scrError as error:
            return Order(str(reference), _failing(error), facts)
        return Order(str(reference), lambda: self._prepare(reference, destination, tag), facts)

    def _place(self, location: Location) -> Location:
        place = Location(location.transport, Path(os.path.realpath(location.path)))
        transport = self._transports.setdefault(place.path, place.transport)
        if transport != place.transport:
            raise InputError(f"{place.path} cannot be {transport}: and {place.transport}: at once", "Name two places")
        return place

    def _open(self, place: Location) -> FileDestination | DockerDaemonDestination:
        if place.transport == DOCKER_DAEMON:
            return self._daemon.destination()
        destination = open_destination(place)
        self._opened.callback(destination.close)
        self._destinations[place] = destination
        return destination

    def _prepare(
        self, reference: Reference, destination: FileDestination | DockerDaemonDestination, tag: str | None
    ) -> ImageCopy:
        repository = self._registry.repository(reference.repository(self._qualify))
        root = repository.resolve(reference.digest or reference.tag or "latest")
        if root is None:
            raise SourceError(
                f"there is no image {reference.tag or reference.digest} in {repository.description}",
                "Push it first, or see whether it was pushed with the other setting of qualify",
            )
        image = SourceImage(root, reference)
        if isinstance(destination, DockerDaemonDestination):
            image = destination.select(repository, image)
        return ImageCopy(repository, image, destination, tag)


def _read_entry(entry: Any) -> tuple[str, str]:
    if isinstance(entry, str):
        return entry, f"{DOCKER_DAEMON}:"
    if isinstance(entry, Mapping) and set(entry) <= {"name", "dest"}:
        name, dest = entry.get("name"), entry.get("dest") or f"{DOCKER_DAEMON}:"
        if isinstance(name, str) and isinstance(dest, str):
            return name, dest
    raise InputError(f"{entry!r:.300} is not an image to pull", "Write its name, and with dest where to write it")


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


def _failing(error: K8scrError) -> Any:
    def prepare() -> ImageCopy:
        raise error

    return prepare
