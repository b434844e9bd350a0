# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Report which images the cluster's registry has: take an inventory with the parameters of ``k8scr_info``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.common.warnings import warn

from ..errors import InputError, MissingCatalogError
from ..objects.workloads import find_image_uses
from ..oci.reference import is_repository, parse_reference
from ..registry.capacity import capacity_of, read_pod
from ..registry.client import Registry
from ..registry.cluster import ClusterRegistry, RegistrySettings, connect_registry
from ..registry.features import find_features
from ..registry.inventory import Inventory, Verify
from ..registry.inventory_reader import take_inventory
from ..transfer.listener import RetryLog
from ..transfer.lock import read_lock
from ..transfer.presence import WantedImage, missing_images
from ..transfer.progress import SILENT, Progress
from ..transfer.usage import Usage, match_usage, with_used_images
from ..transfer.usage_report import report_missing, report_unused
from .inventory_report import image_entry, incomplete_entries, totals
from .registry_settings import READ_ONLY_PORT, REGISTRY_ARGUMENT_SPEC, registry_settings

INFO_ARGUMENT_SPEC: dict[str, Any] = {
    "repositories": {"type": "list", "elements": "str"},
    "images": {"type": "list", "elements": "str"},
    "labels": {"type": "bool", "default": False},
    "referrers": {"type": "bool", "default": False},
    "verify": {"type": "str", "choices": [each.value for each in Verify], "default": Verify.MANIFESTS.value},
    "lock": {"type": "path"},
    "usage": {"type": "bool", "default": False},
    **REGISTRY_ARGUMENT_SPEC,
    "registry_port": {"type": "int", "default": READ_ONLY_PORT},
}


@dataclass(frozen=True)
class InfoSettings:
    """The options of ``k8scr_info``.

    Attributes:
        repositories: Patterns of repositories; None for all, unless images are named.
        named: The images in the option ``images``.
        locked: The images in the lock file.
    """

    registry: RegistrySettings
    repositories: tuple[str, ...] | None
    named: tuple[WantedImage, ...]
    locked: tuple[WantedImage, ...]
    labels: bool
    referrers: bool
    verify: Verify
    usage: bool
    qualify: bool

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> InfoSettings:
        """Read the module's parameters, and the lock file.

        Raises:
            InputError: An option is invalid, or the lock file cannot be read.
        """
        qualify, verify = options["qualify"], Verify(options["verify"])
        repositories, images = options["repositories"], options["images"]
        names = [parse_reference(name) for name in images or ()]
        entries = read_lock(Path(options["lock"])) if options["lock"] else []
        if entries and verify is Verify.NONE:
            raise InputError(
                "a lock file cannot be compared with verify: none, because it may have digests of configs",
                "Use verify: manifests",
            )
        if options["usage"] and verify is Verify.NONE:
            raise InputError(
                "usage cannot be found with verify: none, because workloads may use digests of platforms and configs",
                "Use verify: manifests",
            )
        if repositories is None and images is not None:
            repositories = []
        return cls(
            registry_settings(options),
            None if repositories is None else tuple(repositories),
            tuple(WantedImage(name, name.repository(qualify)) for name in names),
            tuple(WantedImage(name, name.repository(qualify), digest) for name, digest in entries),
            options["labels"],
            options["referrers"],
            verify,
            options["usage"],
            qualify,
        )

    @property
    def select(self) -> Callable[[str], bool] | None:
        """Whether a pattern selects a repository; None if all repositories are selected."""
        patterns = self.repositories
        return None if patterns is None else lambda name: any(fnmatchcase(name, pattern) for pattern in patterns)


def run_info(options: Mapping[str, Any], _check_mode: bool, _progress: Progress = SILENT) -> dict[str, Any]:
    """Take an inventory of the registry and return the module's result. Check mode makes no difference.

    Raises:
        ClusterError: No cluster is configured, its configuration cannot be used, or the registry cannot be reached.
        InputError: An option is invalid.
        RegistryError: The registry does not list its repositories.
    """
    settings = InfoSettings.from_options(options)
    log = RetryLog()
    with connect_registry(settings.registry, writes=False, on_retry=log.retried) as registry:
        inventory = inventory_of(settings, registry)
        usage = None
        if settings.usage:
            inventory, usage = _usage(settings, registry, inventory)
        result = _result(settings, registry, inventory, usage)
    for pattern in _unmatched_patterns(settings, inventory):
        warn(f"No image in the registry matches {pattern!r:.300} in the option repositories.")
    return {**result, "retries": log.entries}


def inventory_of(settings: InfoSettings, registry: Registry) -> Inventory:
    """Take the inventory of the selected images.

    Raises:
        K8scrError: The registry cannot be reached, or does not list its repositories.
    """
    patterns = settings.repositories
    # Repositories without a pattern are listed even if the registry does not have a catalog.
    is_literal = patterns is not None and all(map(is_repository, patterns))
    try:
        inventory = _take_inventory(
            settings,
            registry,
            patterns if is_literal else None,
            [(each.repository, each.reference) for each in (*settings.named, *settings.locked)],
            aliases=True,
        )
    except MissingCatalogError as error:
        advice = "Without a list, name the repositories in repositories, without patterns, or the images in images"
        raise error.replace(advice=advice) from error
    if is_literal:
        # The registry returns an empty list of tags for a repository that does not exist.
        return replace(inventory, repositories=tuple(sorted(_repositories_with_content(inventory))))
    return inventory


def _unmatched_patterns(settings: InfoSettings, inventory: Inventory) -> Iterator[str]:
    """Yield the patterns of the option ``repositories`` that select no image and no unreadable repository."""
    names = _repositories_with_content(inventory)
    for pattern in dict.fromkeys(settings.repositories or ()):
        if not any(fnmatchcase(name, pattern) for name in names):
            yield pattern


def _repositories_with_content(inventory: Inventory) -> set[str]:
    return {image.repository for image in inventory.images} | {each.repository for each in inventory.unreadable}


def _take_inventory(
    settings: InfoSettings,
    registry: Registry,
    repositories: Sequence[str] | None,
    references: Sequence[tuple[str, str]],
    aliases: bool = False,
) -> Inventory:
    return take_inventory(
        registry,
        settings.registry.connections,
        repositories=repositories,
        select=settings.select,
        references=references,
        aliases=aliases,
        created=True,
        details=settings.labels,
        referrers=settings.referrers,
        verify=settings.verify,
    )


def _usage(settings: InfoSettings, registry: ClusterRegistry, inventory: Inventory) -> tuple[Inventory, Usage]:
    """Return the inventory with the used images that the registry does not list, and the usage of all its images."""
    # The workloads are read after the images, so that no image counts as unused which a new workload uses.
    uses, unseen = find_image_uses(registry.api_server, registry.retries)
    select, known = settings.select, {image.key for image in inventory.images}
    complete = with_used_images(inventory, uses, partial(_take_inventory, settings, registry, ()), select)
    images = [image for image in complete.images if select is None or select(image.repository) or image.key in known]
    unreadable = [
        each
        for each in complete.unreadable
        if select is None or select(each.repository) or each in inventory.unreadable
    ]
    shown = replace(complete, images=tuple(images), unreadable=tuple(unreadable))
    return shown, match_usage(uses, complete, unseen)


def _result(
    settings: InfoSettings, registry: ClusterRegistry, inventory: Inventory, usage: Usage | None
) -> dict[str, Any]:
    pod, missing = settings.registry.pod, missing_images((*settings.named, *settings.locked), inventory)
    found = read_pod(registry.api_server, pod, registry.retries)
    features = find_features(registry, inventory, found, pod.port)
    capacity = capacity_of(found, registry.api_server, pod, registry.retries)
    return {
        "changed": False,
        "registry": {
            "software": features.software,
            "delete": features.delete,
            "referrers_api": features.referrers_api,
            "read_only": features.read_only,
        },
        "totals": totals(inventory, capacity, settings.verify is not Verify.NONE),
        "images": [image_entry(image, usage) for image in inventory.images],
        "missing": report_missing(missing, usage, settings.qualify, settings.select),
        "incomplete": list(incomplete_entries(inventory)),
        **report_unused(usage, inventory.images),
    }
