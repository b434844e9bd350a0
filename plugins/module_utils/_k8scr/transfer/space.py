# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the bytes that a task will store with the free space of the registry's storage, before it stores any."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from ..errors import DestinationError, K8scrError
from ..registry.capacity import UNKNOWN, Capacity
from ..registry.inventory import Inventory
from .plan import Action, ImagePlan

_SMALL_SHARE = 100
"""A task that needs at most this fraction of the capacity does not count the bytes of the registry, which takes two
requests for each image, unless free space is required."""
_ADVICE = "Delete images with k8scr_prune, or use a larger volume"
_UNITS = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20}


@dataclass(frozen=True)
class SpaceCheck:
    """Checks whether the storage of a registry has space for the images of a task.

    The free space is the capacity minus the bytes of all images. The real free space may be smaller: the storage also
    has unfinished uploads and deleted images.

    Attributes:
        required: Whether a shortage or an unknown capacity is an error. Otherwise, a shortage is a warning.
        capacity: Returns the capacity of the storage.
        inventory: Returns the images of the registry.
        warn: Shows a warning to the user.
    """

    required: bool
    capacity: Callable[[], Capacity]
    inventory: Callable[[], Inventory]
    warn: Callable[[str], None]

    def __call__(self, plans: Sequence[ImagePlan]) -> None:
        """Check the plans of a task; nothing was stored yet.

        Raises:
            K8scrError: Free space is required, and it is too small or cannot be determined.
        """
        if not bytes_to_store(plans):
            return
        try:
            shortage = self._shortage(plans)
        except K8scrError:
            if self.required:
                raise
            return
        if shortage and self.required:
            raise shortage
        if shortage:
            self.warn(str(shortage))

    def _shortage(self, plans: Sequence[ImagePlan]) -> K8scrError | None:
        capacity = self.capacity()
        if capacity.bytes is None:
            return _unknown(capacity) if self.required else None
        if not self.required and bytes_to_store(plans) * _SMALL_SHARE <= capacity.bytes:
            return None
        inventory = self.inventory()
        used = inventory.bytes
        free = max(capacity.bytes - used, 0)
        # Registries store a blob once for all repositories.
        needed = bytes_to_store(plans, _blobs_in(inventory))
        if needed <= free:
            return None
        most = "up to " if any(step.unknown for plan in plans for step in plan.steps) else ""
        return DestinationError(
            f"the registry has too little space: the images need {most}{_size(needed)}, and at most {_size(free)} are"
            f" free, because its storage ({capacity.source}) has {_size(capacity.bytes)}, and images use {_size(used)}",
            _ADVICE,
        )


def bytes_to_store(plans: Sequence[ImagePlan], stored: Set[str] = frozenset()) -> int:
    """Return the bytes of the blobs and manifests that plans upload; layers to compress count uncompressed.

    Args:
        stored: The digests of blobs that take no additional space.
    """
    steps = (step for plan in plans for step in plan.steps if step.action is Action.SENT)
    blobs = sum(step.descriptor.size for step in steps if step.unknown or step.descriptor.digest not in stored)
    return blobs + sum(len(manifest.content) for plan in plans for manifest in plan.manifests)


def _blobs_in(inventory: Inventory) -> set[str]:
    return {
        blob.digest
        for image in inventory.images
        for manifest in image.manifests
        for blob in manifest.stored_blobs
        if blob.digest not in image.missing
    }


def _unknown(capacity: Capacity) -> K8scrError:
    reason, advice = f"its Pod states no size ({capacity.source})", "Set require_space: false"
    if capacity.source in ("emptyDir", "memory"):
        advice = "Set registry_storage_size_limit of the role registry, or require_space: false"
    elif capacity.source == UNKNOWN:
        reason = f"the user may not get its Pod, or the Pod states no size ({capacity.source})"
    elif capacity.source == "persistentVolumeClaim":
        reason = "the user may not read the PersistentVolumeClaim, or it is not bound"
        advice = "Allow get on the PersistentVolumeClaim, or set require_space: false"
    return DestinationError(f"the capacity of the registry's storage is unknown: {reason}", advice)


def _size(count: int) -> str:
    """Return a number of bytes for a message, such as ``1.50 GiB``."""
    for name, size in _UNITS.items():
        if count >= size:
            return f"{count / size:.2f} {name}"
    return f"{count} bytes"
