# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Report which images the cluster's registry has: take an inventory with the parameters of ``k8scr_info``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..errors import InputError, RegistryError
from ..http.retry import Retries
from ..oci.reference import is_repository, parse_reference
from ..registry.capacity import capacity_of, read_pod
from ..registry.client import Registry
from ..registry.cluster import RegistrySettings, connect_registry
from ..registry.features import find_features
from ..registry.inventory import Inventory, Verify, take_inventory
from ..transfer.listener import RetryLog
from ..transfer.lock import ImageLock
from ..transfer.presence import MissingImage, WantedImage, missing_images
from ..transport.cluster import Cluster, connect
from .inventory_report import image_entry, incomplete_entries, totals
from .registry_settings import READ_ONLY_PORT, REGISTRY_ARGUMENT_SPEC, registry_settings

INFO_ARGUMENT_SPEC: dict[str, Any] = {
    "repositories": {"type": "list", "elements": "str"},
    "images": {"type": "list", "elements": "str"},
    "labels": {"type": "bool", "default": False},
    "referrers": {"type": "bool", "default": False},
    "verify": {"type": "str", "choices": [each.value for each in Verify], "default": Verify.MANIFESTS.value},
    "lock": {"type": "path"},
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

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> InfoSettings:
        """Read the module's parameters, and the lock file.

        Raises:
            InputError: An option is invalid, or the lock file cannot be read.
        """
        qualify, verify = options["qualify"], Verify(options["verify"])
        repositories, images = options["repositories"], options["images"]
        names = [parse_reference(name) for name in images or ()]
        entries = ImageLock(Path(options["lock"]), enforced=True).entries if options["lock"] else []
        if entries and verify is Verify.NONE:
            raise InputError(
                "a lock file cannot be compared with verify: none, because it may have digests of configs",
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
        )


def run_info(options: Mapping[str, Any], _check_mode: bool) -> dict[str, Any]:
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
        with connect(settings.registry.cluster) as cluster:
            result = _result(settings, registry, inventory, cluster)
    return {**result, "retries": log.entries}


def inventory_of(settings: InfoSettings, registry: Registry) -> Inventory:
    """Take the inventory of the selected images.

    Raises:
        K8scrError: The registry cannot be reached, or does not list its repositories.
    """
    patterns = settings.repositories
    # Repositories without a pattern are listed even if the registry does not have a catalog.
    is_literal = patterns is not None and all(map(is_repository, patterns))
    select: Callable[[str], bool] | None = None
    if patterns is not None and not is_literal:
        select = lambda name: any(fnmatchcase(name, pattern) for pattern in patterns)  # noqa: E731
    try:
        return take_inventory(
            registry,
            settings.registry.connections,
            repositories=patterns if is_literal else None,
            select=select,
            references=[(each.repository, each.reference) for each in (*settings.named, *settings.locked)],
            aliases=True,
            created=True,
            details=settings.labels,
            referrers=settings.referrers,
            verify=settings.verify,
        )
    except RegistryError as error:
        if not is_literal and not error.transient:
            advice = "Without a list, name the repositories in repositories, without patterns, or the images in images"
            raise error.replace(advice=advice) from error
        raise


def _result(settings: InfoSettings, registry: Registry, inventory: Inventory, cluster: Cluster) -> dict[str, Any]:
    pod, retries = settings.registry.pod, Retries(settings.registry.retry_timeout)
    found = read_pod(cluster.adapter, pod, retries)
    features = find_features(registry, inventory, found, pod.port)
    capacity = capacity_of(found, cluster.adapter, pod, retries)
    return {
        "changed": False,
        "registry": {
            "software": features.software,
            "delete": features.delete,
            "referrers_api": features.referrers_api,
            "read_only": features.read_only,
        },
        "totals": totals(inventory, capacity, settings.verify is not Verify.NONE),
        "images": [image_entry(image) for image in inventory.images],
        "missing": [_missing(each) for each in missing_images((*settings.named, *settings.locked), inventory)],
        "incomplete": list(incomplete_entries(inventory)),
    }


def _missing(each: MissingImage) -> dict[str, Any]:
    wanted = each.wanted
    return {
        "name": str(wanted.name),
        "repository": wanted.repository,
        "digest": wanted.digest or wanted.name.digest,
        "stored": each.stored,
    }
