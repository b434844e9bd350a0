# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many images at once: plan them all, carry the plans out, and say of each what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from .copy import Action, ImageCopy, finish_image, plan_image, share_blobs, start_blobs
from .errors import DestinationError, K8scrError


@dataclass
class Order:
    """One image that the user wants delivered.

    Attributes:
        name: How the user called it.
        prepare: Finds it and says where it goes to; may raise K8scrError.
        facts: What is known of it from the start, for the result.
        copy: Its way, once it is prepared.
        error: Why it failed, if it did.
    """

    name: str
    prepare: Callable[[], ImageCopy]
    facts: dict[str, Any]
    copy: ImageCopy | None = None
    error: K8scrError | None = None


@dataclass(frozen=True)
class Delivery:
    """How to deliver.

    Attributes:
        connections: How many requests may be under way at once.
        check_mode: Whether to stop after planning.
        fail_fast: Whether the first failure ends it all.
    """

    connections: int
    check_mode: bool
    fail_fast: bool

    def run(self, orders: Sequence[Order]) -> dict[str, Any]:
        """Deliver the images and return the module's result; failures are in it, not raised."""
        with ThreadPoolExecutor(self.connections) as workers:
            list(workers.map(self._plan, orders))
        planned = self._planned(orders)
        share_blobs(order.copy for order in planned if order.copy)
        if not self.check_mode and not (self.fail_fast and len(planned) < len(orders)):
            self._carry_out([order for order in planned if order.copy and order.copy.changes])
        return summarise(orders)

    def _plan(self, order: Order) -> None:
        try:
            order.copy = order.prepare()
            plan_image(order.copy)
        except K8scrError as error:
            order.error = error

    def _planned(self, orders: Sequence[Order]) -> list[Order]:
        return [order for order in orders if order.copy and not order.error]

    def _carry_out(self, orders: Sequence[Order]) -> None:
        with ThreadPoolExecutor(self.connections) as blobs, ThreadPoolExecutor(self.connections) as images:
            for order in orders:
                if order.copy:
                    start_blobs(order.copy, blobs)
            for order, finished in zip(orders, images.map(self._finish, orders)):
                if not finished and self.fail_fast:
                    blobs.shutdown(wait=False, cancel_futures=True)
                    images.shutdown(wait=False, cancel_futures=True)
                    break
        self._commit(orders)

    def _finish(self, order: Order) -> bool:
        try:
            if order.copy:
                finish_image(order.copy)
            return True
        except K8scrError as error:
            order.error = error
            return False

    def _commit(self, orders: Iterable[Order]) -> None:
        stores: dict[int, list[Order]] = {}
        for order in orders:
            if order.copy:
                stores.setdefault(id(order.copy.destination.store), []).append(order)
        for group in stores.values():
            store = group[0].copy.destination.store if group[0].copy else None
            failed = [order for order in group if order.error]
            if store and failed and store.abandon():
                self._fail(group, DestinationError(f"it was not written because {failed[0].name} failed"))
            elif store:
                try:
                    store.commit()
                except K8scrError as error:
                    store.abandon()
                    self._fail(group, error)

    def _fail(self, orders: Iterable[Order], error: K8scrError) -> None:
        for order in orders:
            order.error = order.error or error


def summarise(orders: Sequence[Order]) -> dict[str, Any]:
    """Return what a module returns: ``changed``, ``images``, ``diff``, and ``msg`` and ``failed`` if one failed."""
    images = [_result(order) for order in orders]
    result: dict[str, Any] = {"changed": any(image["changed"] for image in images), "images": images}
    result["diff"] = {
        "before": "".join(_diff_line(image, "digest_before") for image in images if image["changed"]),
        "after": "".join(_diff_line(image, "digest") for image in images if image["changed"]),
    }
    failures = [order for order in orders if order.error]
    if failures:
        errors: dict[str, list[str]] = {}
        for order in failures:
            errors.setdefault(str(order.error), []).append(order.name)
        reasons = " ".join(f"{', '.join(names)}: {error}" for error, names in errors.items())
        result.update(failed=True, msg=f"{len(failures)} of {len(orders)} images failed. {reasons}")
    return result


def _result(order: Order) -> dict[str, Any]:
    result: dict[str, Any] = {"name": order.name, **order.facts}
    copy = order.copy
    result["changed"] = bool(copy and copy.changes and not order.error)
    result["digest"] = copy.root if copy and not order.error else None
    result["digest_before"] = copy.before.digest if copy and copy.before else None
    if copy and not order.error:
        for action in Action:
            sizes = [blob.descriptor.size for blob in copy.blobs if blob.action is action]
            result[action.value] = {"blobs": len(sizes), "bytes": sum(sizes)}
        result["blobs"] = [
            {"digest": blob.descriptor.digest, "size": blob.descriptor.size, "action": blob.action.value}
            for blob in copy.blobs
        ]
    if order.error:
        result["error"] = str(order.error)
    return result


def _diff_line(image: dict[str, Any], key: str) -> str:
    return f"{image['target']} {image[key]}\n" if image[key] else ""
