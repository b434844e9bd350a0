# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_containerd``: set the folder of containerd's mirror configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..node.config_files import apply_changes
from ..node.containerd_config import ContainerdConfig, LocalContainerd, plan_config_path, plan_config_path_removal

CONTAINERD_ARGUMENT_SPEC: dict[str, Any] = {
    "config": {"type": "path", "default": "/etc/containerd/config.toml"},
    "program": {"type": "str", "default": "containerd"},
    "certs_d": {"type": "path", "default": "/etc/containerd/certs.d"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def run_containerd(module: AnsibleModule) -> dict[str, Any]:
    """Run ``k8scr_containerd`` and return its result.

    Raises:
        K8scrError: The configuration cannot be read or changed.
    """
    options = module.params
    path = Path(options["config"])
    config = ContainerdConfig(path, LocalContainerd(options["program"], path, module))
    plan = plan_config_path if options["state"] == "present" else plan_config_path_removal
    change, folder = plan(config, options["certs_d"])
    backups = [] if module.check_mode else apply_changes([change], module, backup=True)
    return {
        "changed": change.changed,
        "certs_d": folder,
        "diff": [change.diff] if change.changed else [],
        "backups": backups,
    }
