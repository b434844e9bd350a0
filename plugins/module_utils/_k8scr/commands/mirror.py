# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_mirror``: configure a container runtime to pull from a mirror."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..node.config_files import apply_changes
from ..node.mirror import Mirror, validated_upstreams
from ..node.mirror_plan import DEFAULT_PATHS, plan_mirror


@dataclass(frozen=True)
class MirrorSettings:
    """The settings of ``k8scr_mirror``.

    Attributes:
        runtime: The container runtime.
        path: Its configuration.
        upstreams: The hosts of the mirrored registries.
        mirror: The mirror; None to stop using one.
        backup: Whether to back up files with lines of administrators.
    """

    runtime: str
    path: Path
    upstreams: tuple[str, ...]
    mirror: Mirror | None
    backup: bool

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> MirrorSettings:
        """Return the settings in a module's parameters.

        Raises:
            InputError: A parameter is not valid.
        """
        mirror = None
        if parameters["state"] == "present":
            mirror = Mirror.from_endpoint(
                parameters["endpoint"] or "",
                qualify=parameters["qualify"],
                fallback=parameters["fallback"],
                ca_cert=parameters["ca_cert"] or "",
            )
        return cls(
            runtime=parameters["runtime"],
            path=Path(parameters["path"] or DEFAULT_PATHS[parameters["runtime"]]),
            upstreams=validated_upstreams(parameters["upstreams"]),
            mirror=mirror,
            backup=parameters["backup"],
        )


def run_mirror(module: AnsibleModule) -> dict[str, Any]:
    """Run ``k8scr_mirror`` and return its result.

    Raises:
        K8scrError: The configuration cannot be read or changed.
    """
    settings = MirrorSettings.from_parameters(module.params)
    changes, warnings = plan_mirror(settings.runtime, settings.path, settings.upstreams, settings.mirror)
    backups = [] if module.check_mode else apply_changes(changes, module, settings.backup)
    for warning in warnings:
        module.warn(warning)
    return {
        "changed": any(change.changed for change in changes),
        "files": [change.result for change in changes],
        "diff": [change.diff for change in changes if change.changed],
        "backups": backups,
    }
