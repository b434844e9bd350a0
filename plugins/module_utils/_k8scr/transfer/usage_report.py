# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The use of images in the results of modules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..objects.workloads import ImageUse
    from ..registry.inventory import StoredImage
    from .usage import Usage


def report_users(uses: Iterable[ImageUse]) -> list[dict[str, Any]]:
    """Return the workloads of uses, each once and in the same order."""
    workloads: dict[tuple[str, str, str], bool] = {}
    for use in uses:
        workload = use.kind, use.namespace, use.name
        # A ReplicaSet may still have Pods that are being deleted.
        workloads[workload] = workloads.get(workload, True) and use.rollback
    return [
        {"kind": kind, "namespace": namespace, "name": name, "rollback": rollback}
        for (kind, namespace, name), rollback in workloads.items()
    ]


def report_usage(usage: Usage, images: Iterable[StoredImage]) -> dict[str, Any]:
    """Return the keys ``missing``, ``unused`` and ``unseen`` of a module's result.

    Args:
        images: The images of the registry that the module reports.
    """
    return {
        "missing": [
            {"image": missing.image, "reason": missing.reason, "used_by": report_users(missing.uses)}
            for missing in usage.missing
        ],
        "unused": [
            {"repository": image.repository, "tags": list(image.tags), "digest": image.root.digest}
            for image in usage.unused(images)
        ],
        "unseen": [{"kind": unseen.kind, "reason": unseen.reason} for unseen in usage.unseen],
    }
