# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what the user writes to ``k8scr_push`` to images on their way into the cluster's registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

from .cluster_registry import connect_registry
from .copy import ImageCopy
from .delivery import Delivery, Order
from .errors import InputError, K8scrError, SourceError
from .oci.reference import Reference, parse_reference
from .stores.location import FileSource, open_source, parse_location
from .stores.registry import Registry
from .stores.store import SourceImage


def run_push(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Push images and return the module's result.

    Args:
        options: The parameters of ``k8scr_push``.
        check_mode: Whether to only say what would happen.

    Raises:
        ClusterError: The options lead to no cluster.
        InputError: The images cannot all be pushed as asked.
    """
    delivery = Delivery(options["connections"], check_mode, options["fail_fast"])
    with ExitStack() as opened:
        registry = opened.enter_context(connect_registry(options))
        result = delivery.run(push_orders(options["images"], registry, options["qualify"], opened))
        return {**result, "retries": registry.retries.account}


def push_orders(images: Sequence[Any], registry: Registry, qualify: bool, opened: ExitStack) -> list[Order]:
    """Return the orders for the entries of the option ``images``; one that cannot be read is an order that fails.

    Args:
        images: The entries.
        registry: The cluster's registry.
        qualify: Whether the repositories there begin with the images' hosts.
        opened: Is told of the sources, which must be open until the orders are carried out.

    Raises:
        InputError: Two of them would land on one tag with different digests.
    """
    orders = [order for entry in images for order in _orders(entry, registry, qualify, opened)]
    _refuse_collisions(orders)
    return orders


def _orders(entry: Any, registry: Registry, qualify: bool, opened: ExitStack) -> list[Order]:
    source_text, name = _read_entry(entry)
    try:
        location = parse_location(source_text)
        source = opened.enter_context(closing(open_source(location)))
        images = source.images(location.name)
        if name and len(images) > 1:
            raise InputError(f"{source_text} has {len(images)} images, and one name cannot be that of all", "Say which")
        reference = parse_reference(name) if name else None
    except K8scrError as error:
        return [_failed(name or source_text, source_text, error)]
    return [_order(source, image, reference or image.name, source_text, registry, qualify) for image in images]


def _read_entry(entry: Any) -> tuple[str, str | None]:
    if isinstance(entry, str):
        return entry, None
    if isinstance(entry, Mapping) and isinstance(entry.get("source"), str) and set(entry) <= {"source", "name"}:
        name = entry.get("name")
        if name is None or isinstance(name, str):
            return entry["source"], name
    raise InputError(f"{entry!r:.300} is not an image to push", "Write a source, or source and name")


def _order(
    source: FileSource, image: SourceImage, name: Reference | None, text: str, registry: Registry, qualify: bool
) -> Order:
    if name is None:
        error = SourceError(f"image {image.root.digest} in {text} has no name", "Give it one with name")
        return _failed(text, text, error)
    if name.digest and name.digest != image.root.digest:
        return _failed(str(name), text, SourceError(f"{text} has {image.root.digest}, not the digest of {name}"))
    repository = name.repository(qualify)
    copy = ImageCopy(source, image, registry.repository(repository), name.tag)
    target = f"{repository}:{name.tag}" if name.tag else f"{repository}@{image.root.digest}"
    facts = {"source": text, "repository": repository, "tag": name.tag, "target": target}
    return Order(str(name), lambda: copy, facts, copy)


def _refuse_collisions(orders: Sequence[Order]) -> None:
    targets: dict[str, Order] = {}
    for order in orders:
        if order.copy is None:
            continue
        other = targets.setdefault(order.facts["target"], order)
        if other.copy and other.copy.image.root != order.copy.image.root:
            raise InputError(
                f"{other.name} from {other.facts['source']} and {order.name} from {order.facts['source']}"
                f" are different images and would both become {order.facts['target']}",
                "Rename one, or keep their registries apart with qualify: true",
            )


def _failed(name: str, source: str, error: K8scrError) -> Order:
    def prepare() -> ImageCopy:
        raise error

    return Order(name, prepare, {"source": source, "target": None})
