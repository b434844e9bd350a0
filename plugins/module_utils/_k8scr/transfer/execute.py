# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many images at once: plan them all, carry the plans out, and say of each what became of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from ..errors import DestinationError, InputError, K8scrError, RefusedError
from ..oci.interfaces import DestinationStore
from .plan import (
    Action,
    BlobCopy,
    ImageCopy,
    finish_image,
    name_root,
    plan_blob,
    plan_image,
    require_blob,
    share_blobs,
    start_blobs,
)

_IMAGES_PER_CONNECTION = 8
"""Images that are under way at once: enough for no connection to wait for work."""


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


def failing(error: K8scrError) -> Callable[[], ImageCopy]:
    """Return what prepares an order that fails."""

    def prepare() -> ImageCopy:
        raise error

    return prepare


def without_repetition(orders: Iterable[Order]) -> list[Order]:
    """Leave out what refers to several images of the task and is among the orders already.

    Raises:
        InputError: Different ones would become the same.
    """
    seen: dict[str, set[str]] = {}
    kept = []
    for order in orders:
        target, digest = str(order.facts["target"]), order.copy.image.root.digest if order.copy else ""
        digests = seen.setdefault(target, set())
        if "subject" in order.facts and digests and digest not in digests:
            raise InputError(f"{order.name} would become {target}, and so would something else", "Name two places")
        if "subject" not in order.facts or digest not in digests:
            kept.append(order)
        digests.add(digest)
    return kept


@dataclass(frozen=True)
class Delivery:
    """How to deliver.

    Attributes:
        connections: How many requests may be under way at once.
        check_mode: Whether to stop after planning.
        fail_fast: Whether the first failure ends it all.

    Raises:
        InputError: There would be no connection.
    """

    connections: int
    check_mode: bool
    fail_fast: bool

    def __post_init__(self) -> None:
        if self.connections < 1:
            raise InputError(f"connections is {self.connections}", "Write 1 or more")

    def run(self, orders: Sequence[Order]) -> dict[str, Any]:
        """Deliver the images and return the module's result; failures are in it, not raised."""
        self._plan(orders)
        planned = [order for order in orders if not order.error]
        share_blobs(order.copy for order in planned if order.copy)
        changing = [order for order in planned if order.copy and order.copy.changes]
        if self.fail_fast and len(planned) < len(orders):
            _fail(changing, _because_of(orders))
        elif not self.check_mode:
            self._carry_out(changing)
        return summarise(orders)

    def _plan(self, orders: Sequence[Order]) -> None:
        with ThreadPoolExecutor(self.connections) as workers:
            for first in range(0, len(orders), self._at_once):
                some = orders[first : first + self._at_once]
                list(workers.map(_plan_order, some))
                blobs = [(order, order.copy, blob) for order in some if order.copy for blob in order.copy.blobs]
                list(workers.map(self._plan_blob, blobs))
                for order in some:
                    if order.copy and not order.error:
                        name_root(order.copy)

    def _plan_blob(self, planned: tuple[Order, ImageCopy, BlobCopy]) -> None:
        order, copy, blob = planned
        if order.error:
            return
        try:
            plan_blob(copy, blob)
            if self.check_mode:
                require_blob(copy, blob)
        except K8scrError as error:
            order.error = error

    @property
    def _at_once(self) -> int:
        """How many images are looked at, or are under way, at once: what has begun takes memory."""
        return self.connections * _IMAGES_PER_CONNECTION

    def _carry_out(self, orders: Sequence[Order]) -> None:
        stores: dict[int, tuple[DestinationStore, list[Order]]] = {}
        for order in orders:
            if order.copy:
                store = order.copy.destination.store
                stores.setdefault(id(store), (store, []))[1].append(order)
        try:
            self._copy(orders)
        except BaseException:
            for store, _group in stores.values():
                store.abandon(resumable=True)
            raise
        for store, group in stores.values():
            _commit(store, group)

    def _copy(self, orders: Sequence[Order]) -> None:
        waiting, running = deque(orders), dict[Future[bool], Order]()
        with ThreadPoolExecutor(self.connections) as blobs, ThreadPoolExecutor(self.connections) as images:
            while waiting or running:
                # Images begin as others end.
                while waiting and len(running) < self._at_once:
                    order = waiting.popleft()
                    if order.copy:
                        start_blobs(order.copy, blobs)
                    running[images.submit(_finish, order)] = order
                finished = wait(running, return_when=FIRST_COMPLETED).done
                succeeded = [finish.result() for finish in finished]
                if self.fail_fast and not all(succeeded):
                    blobs.shutdown(wait=False, cancel_futures=True)
                    images.shutdown(wait=False, cancel_futures=True)
                    break
                for finish in finished:
                    del running[finish]
        left = [order for finish, order in running.items() if finish.cancelled() or not finish.result()]
        if left or waiting:
            _fail([*left, *waiting], _because_of(orders))


def _plan_order(order: Order) -> None:
    try:
        order.copy = order.prepare()
        plan_image(order.copy)
    except K8scrError as error:
        order.error = error


def _finish(order: Order) -> bool:
    try:
        if order.copy:
            finish_image(order.copy)
        return True
    except K8scrError as error:
        order.error = error
    except CancelledError:
        # Another image failed, and with fail_fast this one is left out.
        pass
    return False


def _commit(store: DestinationStore, orders: Sequence[Order]) -> None:
    errors = [order.error for order in orders if order.error]
    # Who refuses may be of another mind in the next run, as with other credentials.
    resumable = all(error.transient or isinstance(error, RefusedError) for error in errors)
    if errors and store.abandon(resumable):
        _fail(orders, _because_of(orders))
        return
    try:
        store.commit()
    except K8scrError as error:
        # A full disk is left as it was; after any other failure the next run need not fetch the blobs again.
        store.abandon(resumable=not isinstance(error.__cause__, OSError))
        _fail(orders, error)


def _because_of(orders: Iterable[Order]) -> DestinationError:
    failed = next(order.name for order in orders if order.error)
    return DestinationError(f"it was not delivered because {failed} failed")


def _fail(orders: Iterable[Order], error: K8scrError) -> None:
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
    result["digest"] = copy.root or None if copy and not order.error else None
    result["digest_before"] = copy.before.digest if copy and copy.before else None
    if copy and not order.error:
        for action in Action:
            sizes = [blob.descriptor.size for blob in copy.blobs if blob.action is action]
            result[action.value] = {"blobs": len(sizes), "bytes": sum(sizes)}
        result["blobs"] = [_blob_result(blob) for blob in copy.blobs]
    if order.error:
        result["error"] = str(order.error)
    return result


def _blob_result(blob: BlobCopy) -> dict[str, Any]:
    result = {"digest": blob.descriptor.digest, "size": blob.descriptor.size, "action": blob.action.value}
    if blob.unknown:
        result["digest"] = None
    return {**result, "uncompressed": blob.layer.digest} if blob.layer else result


def _diff_line(image: dict[str, Any], key: str) -> str:
    if key == "digest" and not image[key]:
        return f"{image['target']} (known after compression)\n"
    return f"{image['target']} {image[key]}\n" if image[key] else ""
