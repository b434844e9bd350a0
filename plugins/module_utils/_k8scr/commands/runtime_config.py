# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_containerd`` and ``k8scr_mirror``: change the configuration of a container runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..node.config_files import apply_changes
from ..node.containerd_config import ContainerdConfig, plan_config_path, plan_config_path_removal
from ..node.mirror import Mirror, validated_upstreams
from ..node.mirror_plan import DEFAULT_PATHS, plan_mirror


def run_containerd(module: AnsibleModule) -> dict[str, Any]:
    """Run ``k8scr_containerd`` and return its result.

    Raises:
        K8scrError: The configuration cannot be read or changed.
    """
    config = ContainerdConfig(Path(module.params["config"]), module.params["program"], module)
    plan = plan_config_path if module.params["state"] == "present" else plan_config_path_removal
    change, folder = plan(config, module.params["certs_d"])
    backups = [] if module.check_mode else apply_changes([change], module, backup=True)
    return {
        "changed": change.changed,
        "certs_d": folder,
        "diff": [change.diff] if change.changed else [],
        "backups": backups,
    }


def run_mirror(module: AnsibleModule) -> dict[str, Any]:
    """Run ``k8scr_mirror`` and return its result.

    Raises:
        K8scrError: A parameter is not valid, or the configuration cannot be read or changed.
    """
    parameters, mirror = module.params, None
    upstreams = validated_upstreams(parameters["upstreams"])
    if parameters["state"] == "present":
        mirror = Mirror.from_endpoint(
            parameters["endpoint"] or "",
            qualify=parameters["qualify"],
            fallback=parameters["fallback"],
            ca_cert=parameters["ca_cert"] or "",
        )
    path = Path(parameters["path"] or DEFAULT_PATHS[parameters["runtime"]])
    changes, warnings = plan_mirror(parameters["runtime"], path, upstreams, mirror)
    backups = [] if module.check_mode else apply_changes(changes, module, parameters["backup"])
    for warning in warnings:
        module.warn(warning)
    return {
        "changed": any(change.changed for change in changes),
        "files": [change.result for change in changes],
        "diff": [change.diff for change in changes if change.changed],
        "backups": backups,
    }
