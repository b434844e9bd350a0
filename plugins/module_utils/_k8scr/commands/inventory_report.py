# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory of a registry as a part of a module's result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import one_line
from ..oci.reference import target_name
from ..registry.capacity import Capacity
from ..registry.inventory import Inventory, StoredImage, StoredManifest, subject_of
from ..transfer.retention_marks import name_of
from ..transfer.usage import Usage
from ..transfer.usage_report import report_users

_LONGEST_NAME = 400
"""Characters of a name with its tag or digest that are returned."""


def totals(inventory: Inventory, capacity: Capacity, manifests: bool) -> dict[str, Any]:
    """Return the totals of an inventory.

    Args:
        manifests: Whether the manifests were read.
    """
    return {
        "repositories": len({*inventory.repositories, *(image.repository for image in inventory.images)}),
        "tags": sum(len(image.tags) for image in inventory.images)
        + sum(":" not in (each.tag or ":") for each in inventory.unreadable),
        "manifests": inventory.manifests if manifests else None,
        "blobs": inventory.blobs if manifests else None,
        "bytes": inventory.bytes if manifests else None,
        "capacity": capacity.bytes,
        "capacity_source": capacity.source,
    }


def image_entry(image: StoredImage, usage: Usage | None = None) -> dict[str, Any]:
    """Return the entry of an image, with its users if the usage of the registry is known."""
    is_read = bool(image.manifests)
    return {
        "name": name_of(image),
        "repository": image.repository,
        "tags": list(image.tags),
        "digest": image.root.digest,
        "media_type": image.root.media_type,
        "size": image.size if is_read else None,
        "created": image.created,
        "platforms": [_platform(each) for each in image.manifests if each.platform and not each.platform.is_unknown],
        "subject": next((subject for subject in map(subject_of, image.tags) if subject), None),
        "referrers": [
            {
                "digest": each.descriptor.digest,
                "media_type": each.descriptor.media_type,
                "artifact_type": each.artifact_type,
                "tag": each.tag,
                "subject": each.subject,
            }
            for each in image.referrers
        ],
        "labels": dict(image.labels),
        "annotations": dict(image.annotations),
        "used_by": report_users(usage.users_of(image)) if usage else [],
        "complete": image.complete if is_read or image.error else None,
    }


def incomplete_entries(inventory: Inventory) -> Iterator[dict[str, Any]]:
    """Yield an entry for each image, tag and repository that is incomplete, damaged or unreadable."""
    for each in inventory.unreadable:
        name = target_name(each.repository, each.tag) if each.tag else each.repository
        yield _incomplete(name, each.repository, error=str(each.error))
    for image in inventory.images:
        if not image.complete:
            error = str(image.error) if image.error else None
            details = {"missing": list(image.missing), "damaged": list(image.damaged)}
            yield _incomplete(name_of(image), image.repository, digest=image.root.digest, error=error, **details)


def _platform(manifest: StoredManifest) -> dict[str, Any]:
    return {"platform": str(manifest.platform), "digest": manifest.descriptor.digest, "size": manifest.size}


def _incomplete(name: str, repository: str, **details: Any) -> dict[str, Any]:
    # The catalog of a faulty registry may contain any text.
    texts = {"name": name, "repository": repository}
    shown = {key: one_line(text)[:_LONGEST_NAME] for key, text in texts.items()}
    return {**shown, "digest": None, "missing": [], "damaged": [], **details}
