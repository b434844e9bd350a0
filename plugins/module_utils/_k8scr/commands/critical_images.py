# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_critical_images``: find the images that nodes need before they can pull from the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..http.retry import Retries
from ..objects.node_critical import find_critical_images
from ..registry.cluster import PodSettings
from ..transfer.progress import SILENT, Progress
from ..transport.cluster import connect
from .cluster_options import cluster_settings

CRITICAL_IMAGES_ARGUMENT_SPEC: dict[str, Any] = {
    "namespace": {"type": "str", "default": PodSettings.namespace},
    "registry": {"type": "str", "default": PodSettings.name},
}


def run_critical_images(
    options: Mapping[str, Any], _check_mode: bool = False, _progress: Progress = SILENT
) -> dict[str, Any]:
    """Run ``k8scr_critical_images`` and return its result. The errors are those of :func:`find_critical_images`."""
    with connect(cluster_settings(options)) as cluster:
        images = find_critical_images(cluster.adapter, Retries(), options["namespace"], options["registry"])
    return {
        "changed": False,
        "images": [
            {"name": image.name, "platforms": list(image.platforms), "workloads": list(image.workloads)}
            for image in images
        ],
    }
