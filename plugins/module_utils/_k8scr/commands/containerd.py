# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_containerd``: set ``config_path`` in containerd's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..node.config_files import apply_changes
from ..node.containerd_config import ContainerdConfig, plan_config_path, plan_config_path_removal


@dataclass(frozen=True)
class ContainerdSettings:
    """The settings of ``k8scr_containerd``.

    Attributes:
        config: The path of containerd's configuration.
        program: The command of containerd.
        certs_d: The folder of ``hosts.toml`` files to set.
        present: Whether to set ``config_path`` or to remove the managed block.
    """

    config: Path
    program: str
    certs_d: str
    present: bool

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> ContainerdSettings:
        """Return the settings in a module's parameters."""
        return cls(
            config=Path(parameters["config"]),
            program=parameters["program"],
            certs_d=parameters["certs_d"],
            present=parameters["state"] == "present",
        )


def run_containerd(module: AnsibleModule) -> dict[str, Any]:
    """Run ``k8scr_containerd`` and return its result.

    Raises:
        K8scrError: The configuration cannot be read or changed.
    """
    settings = ContainerdSettings.from_parameters(module.params)
    config = ContainerdConfig(settings.config, settings.program, module)
    plan = plan_config_path if settings.present else plan_config_path_removal
    change, folder = plan(config, settings.certs_d)
    backups = [] if module.check_mode else apply_changes([change], module, backup=True)
    return {
        "changed": change.changed,
        "certs_d": folder,
        "diff": [change.diff] if change.changed else [],
        "backups": backups,
    }
