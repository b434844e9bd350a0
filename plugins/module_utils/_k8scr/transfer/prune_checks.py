# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of a prune's plan: the tags to delete are known, and a garbage collection keeps the content that stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..errors import MissingManifestError, SourceError
from ..oci.reference import target_name
from ..registry.inventory import Inventory, StoredImage
from .retention_marks import name_of

if TYPE_CHECKING:
    from .retention import Decision
    from .retention_marks import Verdict

_MOST_NAMES = 10
"""Images in one message."""


def require_known(decision: Decision) -> None:
    """Check that the registry knows the digest of each tag to delete, because the fault of a storage may pass.

    Raises:
        SourceError: The registry has a tag to delete, and cannot read its manifest.
    """
    faults = {
        name_of(verdict.image): verdict.image.error.message
        for verdict in decision.verdicts
        if verdict.deleted and verdict.image.error and not verdict.digest
        if not isinstance(verdict.image.error, MissingManifestError)
    }
    if faults:
        raise SourceError(
            f"tags to delete cannot be read: {_listed(faults)}",
            "Nothing was deleted. Check the registry's log. If the manifests are damaged, delete the tags with"
            " k8scr_image first",
        )


def require_collectable(inventory: Inventory, decision: Decision, done: str = "Nothing was deleted") -> None:
    """Check that a garbage collection keeps the content of all images that stay.

    distribution's collector fails at a manifest that it cannot read, and deletes what it cannot find in a damaged one.
    It finds stored blobs by their sha256 digests only, so it deletes those that manifests list by another digest. If
    these images are deleted, it fails, because the registry keeps links to their blobs.

    Args:
        done: What was done so far, for the error message.

    Raises:
        SourceError: A collection would fail or delete content.
    """
    staying = [verdict for verdict in decision.verdicts if verdict.stays]
    unreadable = {name_of(verdict.image): fault for verdict in staying if (fault := _fault(verdict))}
    for item in inventory.unreadable:
        if item.tag and ":" in item.tag:
            unreadable[target_name(item.repository, item.tag)] = item.error.message
    if unreadable:
        raise SourceError(
            "images that stay cannot be read, and a garbage collection would fail or delete their content:"
            f" {_listed(unreadable)}",
            f"{done}. Push these images again, delete them with k8scr_image, or set collect to false",
        )
    images = [verdict.image for verdict in decision.verdicts]
    unmarked = _unmarked_images(decision.verdicts)
    if unmarked:
        raise SourceError(
            "images of other repositories list manifests of these images without having them, so a garbage collection"
            f" would delete blobs in use: {_listed(unmarked)}",
            f"{done}. Push the other images again, delete them with k8scr_image, or set collect to false",
        )
    unsupported = {name_of(image): found for image in images if (found := _unsupported_digest(image))}
    if unsupported:
        raise SourceError(
            "images have content with digests that the registry's garbage collector does not support, so it would fail"
            f" or delete content in use: {_listed(unsupported)}",
            f"{done}. Push these images with sha256 digests to a new registry, or set collect to false",
        )


def _listed(faults: Mapping[str, str]) -> str:
    """Return the names of images, each with its fault."""
    more = f" and {len(faults) - _MOST_NAMES} more" if len(faults) > _MOST_NAMES else ""
    return ", ".join(f"{name} ({fault})" for name, fault in list(faults.items())[:_MOST_NAMES]) + more


def _fault(verdict: Verdict) -> str | None:
    """Return the reason why the manifests of an image cannot be used; damaged configs and layers are no fault here.

    Registries accept no tag for an index with missing manifests, so it must have one.
    """
    image = verdict.image
    if image.error:
        return image.error.message
    if image.missing and verdict.needs_tag and not verdict.kept:
        return f"its content {image.missing[0]} is missing"
    blobs = {blob.digest for manifest in image.manifests for blob in manifest.blobs}
    damaged = [digest for digest in image.damaged if digest not in blobs]
    return f"manifest {damaged[0]} is damaged" if damaged else None


def _unmarked_images(verdicts: Iterable[Verdict]) -> dict[str, str]:
    """Return the images with a manifest whose blobs distribution 3 would delete, each with the reason.

    Its collector follows each listed digest once, in the first repository that lists it. If that repository does not
    have the manifest, such as for an incomplete index or for an artifact with the manifest as a layer, the collector
    does not find the blobs of the manifest in other repositories, unless the manifest has a tag there.
    """
    existing: dict[str, set[str]] = defaultdict(set)
    holders: dict[str, StoredImage] = {}
    staying = []
    for verdict in verdicts:
        image = verdict.image
        existing[image.repository] |= image.digests
        if verdict.stays:
            staying.append(image)
            is_tagged = verdict.kept or verdict.needs_tag
            holders.update(dict.fromkeys(image.digests - ({image.root.digest} if is_tagged else set()), image))
    found = {}
    for image in staying:
        blobs = (blob.digest for manifest in image.manifests for blob in manifest.blobs)
        for digest in (*image.missing, *blobs):
            if digest in holders and digest not in existing[image.repository]:
                found[name_of(holders[digest])] = f"{name_of(image)} lists its manifest {digest}"
    return found


def _unsupported_digest(image: StoredImage) -> str | None:
    """Return a digest of an image's content with another algorithm than sha256."""
    digests = (blob.digest for manifest in image.manifests for blob in manifest.stored_blobs)
    return next((digest for digest in (*image.digests, *digests) if not digest.startswith("sha256:")), None)
