# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Create or delete the list of the images that a registry has: the command of ``k8scr_delivered_names``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.warnings import warn

from ..registry.cluster import ClusterRegistry, PodSettings, RegistrySettings, connect_registry
from ..registry.delivered_names import DeliveredNames, NamesChange
from ..registry.write_path import stateful_set_of
from ..transfer.delivered_images import DeliveredImages
from ..transfer.listener import RetryLog
from ..transfer.progress import SILENT, Progress
from .cluster_options import cluster_settings
from .registry_settings import READ_ONLY_PORT, REGISTRY_POD_ARGUMENT_SPEC, pod_settings

DELIVERED_NAMES_ARGUMENT_SPEC: dict[str, Any] = {
    **REGISTRY_POD_ARGUMENT_SPEC,
    "registry_port": {"type": "int", "default": READ_ONLY_PORT},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
DELIVERED_NAMES_EMPTY_RESULT: Mapping[str, Any] = {"retries": []}


def run_delivered_names(options: Mapping[str, Any], check_mode: bool, _progress: Progress = SILENT) -> dict[str, Any]:
    """Create, update or delete the list and return the module's result.

    Raises:
        ClusterError: No cluster is configured, its configuration cannot be used, or the registry cannot be reached.
        InputError: An option is invalid, or the ConfigMap has another purpose.
        RegistryError: The registry does not list its images.
    """
    settings, log = RegistrySettings(cluster_settings(options), pod_settings(options)), RetryLog()
    with log.in_errors(), connect_registry(settings, writes=False, on_retry=log.retried) as registry:
        names = DeliveredNames(registry.api_server, registry.retries, settings.pod)
        if options["state"] == "absent":
            changed = names.exists() if check_mode else names.delete()
            change = NamesChange(names.name, frozenset(), frozenset())
        else:
            missing = not names.exists() if check_mode else names.create()
            images = DeliveredImages(names, registry, settings.connections, warn=warn)
            change = images.list_all(check_mode)
            changed = missing or change.changed
    return {
        "changed": changed,
        "config_map": names.name,
        "names": len(change.after),
        "diff": change.diff,
        "retries": log.entries,
    }


def delivered_images(registry: ClusterRegistry, pod: PodSettings, connections: int) -> DeliveredImages | None:
    """Return the list of a registry for the updates of other modules; ``None`` if its Pod has no StatefulSet."""
    if not stateful_set_of(pod.name):
        return None
    names = DeliveredNames(registry.api_server, registry.retries, pod)
    return DeliveredImages(names, registry, connections, registry.is_of_role, warn)
