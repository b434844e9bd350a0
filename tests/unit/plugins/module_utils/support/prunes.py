# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prunes of a registry with the workloads of a test, as k8scr_prune does them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.prune import (
    PRUNE_ARGUMENT_SPEC,
    closing_line,
    prune_report,
    read_rules,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.workloads import ImageUse, Unseen
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.delivered_images import DeliveredImages
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.progress import SILENT, Progress
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.prune import Prune

from .garbage_collection import FakeCollector
from .images import Image
from .registry_server import RegistryServer
from .settings import module_options


class Workloads:
    """The workloads of a cluster.

    Attributes:
        lists: The uses of images in each list; the last one repeats.
        unseen: The kinds that cannot be listed.
        listed: Called before each list with its number.
    """

    def __init__(self, *lists: Sequence[ImageUse]) -> None:
        self.lists = list(lists) or [()]
        self.unseen: tuple[Unseen, ...] = ()
        self.listed: Callable[[int], None] = lambda _number: None
        self.count = 0

    def find(self) -> tuple[tuple[ImageUse, ...], tuple[Unseen, ...]]:
        """Return the next list."""
        self.listed(self.count)
        found = self.lists[min(self.count, len(self.lists) - 1)]
        self.count += 1
        return tuple(found), self.unseen


def prune_registry(
    registry: Registry,
    collector: FakeCollector | None = None,
    workloads: Workloads | None = None,
    check_mode: bool = False,
    progress: Progress = SILENT,
    delivered: DeliveredImages | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Prune as k8scr_prune does and return the result without ``retries``."""
    given = module_options(PRUNE_ARGUMENT_SPEC, **options)
    find_uses = (workloads or Workloads()).find if given["keep_used"] else None
    rules, allow_empty = read_rules(given), given["allow_empty"]
    prune = Prune(registry, 4, rules, find_uses, collector, 60, allow_empty, progress.status, delivered)
    result = prune.run(check_mode)
    progress.line(closing_line(result, check_mode))
    return prune_report(result)


def tags_in(server: RegistryServer, repository: str = "team/api") -> set[str]:
    """Return the tags of a repository."""
    return {name for name in server.manifests.get(repository, {}) if ":" not in name}


def fill(server: RegistryServer, **images: Image) -> None:
    """Store images in the repository ``team/api``, by their tags."""
    for tag, image in images.items():
        server.fill("team/api", tag, image)
