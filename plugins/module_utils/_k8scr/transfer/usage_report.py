# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The use of images in the results of modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..errors import one_line
from ..oci.reference import target_name

if TYPE_CHECKING:
    from ..objects.workloads import ImageUse
    from ..registry.inventory import StoredImage
    from .presence import MissingImage
    from .usage import MissingUse, Usage


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


def report_missing(
    wanted: Iterable[MissingImage],
    usage: Usage | None,
    qualify: bool,
    select: Callable[[str], bool] | None,
) -> list[dict[str, Any]]:
    """Return the entries of the images that the registry does not have, each image once.

    Args:
        wanted: The missing images among those that the task or its lock file names.
        usage: The usage of the registry, if it was requested.
        qualify: Whether the repositories of the registry have the hosts of their images.
        select: Whether a repository is of interest; None for all repositories.
    """
    entries, reported = [], set()
    for each in wanted:
        reference = each.wanted.repository, each.wanted.reference
        reported.add(reference)
        entries.append(
            {
                "name": str(each.wanted.name),
                "repository": each.wanted.repository,
                "digest": each.wanted.digest or each.wanted.name.digest,
                "stored": each.stored,
                "reason": f"the registry has {each.stored} under this name"
                if each.stored
                else f"the registry does not have {target_name(*reference)}",
                "used_by": report_users(usage.named.get(reference, ())) if usage else [],
            }
        )
    for use in usage.missing if usage else ():
        if reported.isdisjoint(use.references) and _is_selected(use, select):
            repository, tag = use.references[-1 if qualify else 0] if use.references else (None, "")
            entries.append(
                {
                    # Users of the cluster write this name, which may contain any text.
                    "name": one_line(use.image),
                    "repository": repository,
                    "digest": tag if ":" in tag else None,
                    "stored": None,
                    "reason": use.reason,
                    "used_by": report_users(use.uses),
                }
            )
    return entries


def report_unused(usage: Usage | None, images: Iterable[StoredImage]) -> dict[str, Any]:
    """Return the keys ``unused`` and ``unseen`` of a module's result; both are empty without a usage."""
    return {
        "unused": [
            {"repository": image.repository, "tags": list(image.tags), "digest": image.root.digest}
            for image in (usage.unused(images) if usage else ())
        ],
        "unseen": [{"kind": unseen.kind, "reason": unseen.reason} for unseen in (usage.unseen if usage else ())],
    }


def _is_selected(use: MissingUse, select: Callable[[str], bool] | None) -> bool:
    return select is None or any(select(repository) for repository, _reference in use.references)
