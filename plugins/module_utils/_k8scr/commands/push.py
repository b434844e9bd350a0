# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what the user writes to ``k8scr_push`` to images on their way into the cluster's registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, K8scrError, SourceError
from ..files.compression import find_compression
from ..oci.interfaces import ImageSource, SourceImage
from ..oci.reference import Reference, parse_reference
from ..registry.client import Registry
from ..registry.cluster import cache_folder, connect_registry
from ..registry.repository import Repository
from ..registry.upstreams import TRANSPORT, Upstreams
from ..stores.docker_daemon import TRANSPORT as DOCKER_DAEMON
from ..stores.docker_daemon import DockerDaemon
from ..stores.location import Location, open_source, parse_location
from ..transfer.compressed_layers import CompressedLayers, CompressingRepository
from ..transfer.execute import Delivery, Order, failing, without_repetition
from ..transfer.overlay import known_by_tag
from ..transfer.plan import ImageCopy
from ..transfer.pushed_images import PushedImages
from .image_entries import PushEntry
from .push_settings import PushSettings

if TYPE_CHECKING:
    from ..stores.location import FileSource
    from ..transfer.lock import ImageLock
    from ..transfer.platforms import PlatformSource


def run_push(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Push images and return the module's result.

    Args:
        options: The parameters of ``k8scr_push``.
        check_mode: Whether to only say what would happen.

    Raises:
        ClusterError: The options lead to no cluster.
        InputError: The images cannot all be pushed as asked.
    """
    settings = PushSettings.from_options(options)
    limits = settings.registry.connections, float(settings.registry.timeout), float(settings.registry.retry_timeout)
    with (
        closing(Upstreams(settings.upstreams, *limits)) as upstreams,
        connect_registry(settings.registry, writes=True) as registry,
    ):
        return push_images(settings, check_mode, registry, cache_folder(), upstreams)


def push_images(
    settings: PushSettings, check_mode: bool, registry: Registry, cache: Path, upstreams: Upstreams
) -> dict[str, Any]:
    """Push images to a registry and return the module's result; see :func:`run_push`."""
    delivery = Delivery(settings.registry.connections, check_mode, settings.fail_fast)
    pushed = PushedImages(cache / "pushed", registry.identity)
    compression = find_compression(settings.compression)
    compressed = CompressedLayers(cache / "compressed", compression) if compression else None
    lock = None
    if settings.lock:
        from ..transfer.lock import ImageLock

        lock = ImageLock(settings.lock, settings.locked)
    with ExitStack() as opened:
        daemon = opened.enter_context(closing(DockerDaemon(settings.docker)))
        reader = PushOrders(registry, settings, pushed, compressed, upstreams, daemon, lock, opened)
        orders = reader.read(settings.images)
        result = delivery.run(orders)
    if not check_mode:
        for order in orders:
            if order.copy and not order.error:
                pushed.remember(order.copy.image.identity, order.copy.destination.repository)
        pushed.save()
    if lock:
        lock.update(reader.delivered())
        _save(lock, result, check_mode)
    return {**result, "retries": [*registry.retries.account, *upstreams.retries]}


class PushOrders:
    """The orders for the entries of the option ``images``.

    Args:
        registry: The cluster's registry.
        settings: The options of ``k8scr_push``.
        pushed: What was pushed there before.
        compressed: How layers are compressed on the way, and what they became before; ``None`` to leave them be.
        upstreams: The registries that images come from.
        daemon: The Docker daemon that they come from.
        lock: What the images are held to, if anything.
        opened: Is told of the sources, which must be open until the orders are carried out.
    """

    def __init__(
        self,
        registry: Registry,
        settings: PushSettings,
        pushed: PushedImages,
        compressed: CompressedLayers | None,
        upstreams: Upstreams,
        daemon: DockerDaemon,
        lock: ImageLock | None,
        opened: ExitStack,
    ) -> None:
        self._registry = registry
        self._qualify = settings.qualify
        self._mount_from = settings.mount_from
        self._pushed = pushed
        self._compressed = compressed
        self._upstreams = upstreams
        self._daemon = daemon
        self._lock = lock
        self._opened = opened
        self._places: dict[Location, FileSource] = {}
        self._found: list[tuple[Order, Reference, str]] = []

    def read(self, wanted: Sequence[PushEntry]) -> list[Order]:
        """Return them; an entry that cannot be read is an order that fails.

        Raises:
            InputError: Two of them would land on one tag with different digests.
        """
        self._upstreams.find_all(self._upstream_references(wanted))
        orders = without_repetition(order for each in wanted for order in self._orders(each))
        _refuse_collisions(orders)
        return orders

    def delivered(self) -> Iterator[tuple[Reference, str]]:
        """What was delivered: each image's name, and the digest that tells the image from all others."""
        return ((name, identity) for order, name, identity in self._found if not order.error)

    def _orders(self, wanted: PushEntry) -> list[Order]:
        text, name = wanted.source, wanted.name
        try:
            reference = parse_reference(name) if name else None
            source, images = self._open(wanted)
            if name:
                images = [_only(images, text)]
        except K8scrError as error:
            return [_failed(name or text, text, error)]
        selection = None
        if wanted.platforms:
            from ..transfer.platforms import PlatformSource

            selection = PlatformSource(source, wanted.platforms)
        orders = [self._order(source, selection, image, reference, text) for image in images]
        if wanted.referrers:
            from ..transfer.referrer_jobs import orders_beside

            orders += [found for order in list(orders) for found in orders_beside(order, source, _target_of(order))]
        return orders

    def _open(self, wanted: PushEntry) -> tuple[ImageSource, list[SourceImage]]:
        if wanted.source.startswith(TRANSPORT):
            repository, image = self._upstreams.open(self._upstream_reference(wanted))
            return repository, [replace(image, name=wanted.upstream)]
        location = parse_location(wanted.source)
        if location.transport == DOCKER_DAEMON:
            return self._daemon.open(location.name)
        source = self._open_place(replace(location, name=None))
        return source, source.images(location.name)

    def _open_place(self, place: Location) -> FileSource:
        """Open a place once, however many entries mean images of it: what it lists is read and kept each time."""
        source = self._places.get(place)
        if source is None:
            source = self._places[place] = self._opened.enter_context(closing(open_source(place)))
        return source

    def _upstream_references(self, wanted: Iterable[PushEntry]) -> Iterator[Reference]:
        for each in wanted:
            if each.source.startswith(TRANSPORT):
                try:
                    yield self._upstream_reference(each)
                except InputError:
                    # It fails by itself when its turn comes.
                    continue

    def _upstream_reference(self, wanted: PushEntry) -> Reference:
        """What to ask an upstream registry for: the very image that is locked, whatever its tag has become since."""
        reference = wanted.upstream
        if self._lock and self._lock.enforced and not reference.digest:
            name = parse_reference(wanted.name) if wanted.name else reference
            return replace(reference, digest=self._lock.digest_of(name))
        return reference

    def _order(
        self,
        source: ImageSource,
        selection: PlatformSource | None,
        image: SourceImage,
        reference: Reference | None,
        text: str,
    ) -> Order:
        """The order for one image of an entry, of which there may be just some platforms wanted."""
        name = reference or image.name
        try:
            if self._lock and name:
                self._lock.require(name, image, text)
            selected = selection.select(image) if selection else image
        except K8scrError as error:
            return _failed(str(name or text), text, error)
        order = self._named_order(selection or source, selected, reference or selected.name, text)
        if name:
            self._found.append((order, name, image.identity))
        return order

    def _named_order(self, source: ImageSource, image: SourceImage, name: Reference | None, text: str) -> Order:
        digest = image.root.digest
        if name is None:
            return _failed(text, text, SourceError(f"image {digest} in {text} has no name", "Give it one with name"))
        try:
            image = _with_digest(image, name, text)
            if name.tag and not image.read:
                source, image = known_by_tag(source, image)
        except K8scrError as error:
            return _failed(str(name), text, error)
        repository = name.repository(self._qualify)
        others = dict.fromkeys((*self._mount_from, *self._pushed.repositories(image.identity)))
        neighbours = [Repository(self._registry, other) for other in others if other != repository]
        destination = Repository(self._registry, repository)
        # What is asked for by its digest keeps it.
        compressed = None if name.digest else self._compressed
        compressor = CompressingRepository(destination, compressed) if compressed else None
        copy = ImageCopy(source, image, destination, name.tag, neighbours, compressor)
        target = _target(repository, name.tag or digest)
        facts = {"source": text, "repository": repository, "tag": name.tag, "target": target}
        return Order(str(name), lambda: copy, facts, copy)


def _only(images: Sequence[SourceImage], where: str) -> SourceImage:
    """Return the one image that these are, however many names it has.

    Raises:
        InputError: They are several.
    """
    if not all(image.is_same(images[0]) for image in images):
        raise InputError(
            f"{where} has {len(images)} images, and one name cannot be that of all",
            f"Say which, by its name there or by its place: {where}:@0 is the first",
        )
    return images[0]


def _with_digest(image: SourceImage, name: Reference, where: str) -> SourceImage:
    """Return the image, which has the digest that is in its name, if there is one.

    Raises:
        SourceError: It has another.
    """
    read = image.read
    if not name.digest:
        return image
    if image.root.digest != name.digest:
        advice = None
        if image.config_digest:
            advice = "What is known by its image ID may have lost its digest; take it from docker://, or leave that out"
        raise SourceError(f"{where} has {image.root.digest}, not the digest of {name}", advice)
    return replace(image, read=lambda: _with_digest(read(), name, where)) if read else image


def _refuse_collisions(orders: Sequence[Order]) -> None:
    targets: dict[str, Order] = {}
    for order in orders:
        if order.copy is None:
            continue
        other = targets.setdefault(order.facts["target"], order)
        if other.copy and not other.copy.image.is_same(order.copy.image):
            raise InputError(
                f"{other.name} from {other.facts['source']} and {order.name} from {order.facts['source']}"
                f" are different images and would both become {order.facts['target']}",
                "Rename one, or keep their registries apart with qualify: true",
            )


def _save(lock: ImageLock, result: dict[str, Any], check_mode: bool) -> None:
    """Write the lock file, and say so in a result, which stays whatever becomes of the file."""
    if not check_mode:
        try:
            lock.save()
        except K8scrError as error:
            result["msg"] = " ".join([*([result["msg"]] if "msg" in result else []), str(error)])
            result["failed"] = True
            return
    if lock.changed:
        result["changed"] = True
        result["diff"] = [result["diff"], lock.diff]


def _target(repository: str, tag: str) -> str:
    return f"{repository}@{tag}" if ":" in tag else f"{repository}:{tag}"


def _target_of(order: Order) -> Callable[[str], str]:
    return lambda tag: _target(order.facts["repository"], tag)


def _failed(name: str, source: str, error: K8scrError) -> Order:
    return Order(name, failing(error), {"source": source, "target": None})
