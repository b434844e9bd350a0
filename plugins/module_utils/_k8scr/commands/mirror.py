# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_mirror``: configure the mirror that a container runtime pulls from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..errors import InputError
from ..node.config_files import apply_changes
from ..node.containerd_version import print_version, supported_mirror
from ..node.mirror import Mirror, validated_exclude, validated_upstreams
from ..node.mirror_plan import DEFAULT_PATHS, plan_mirror

MIRROR_ARGUMENT_SPEC: dict[str, Any] = {
    "runtime": {"type": "str", "choices": list(DEFAULT_PATHS), "required": True},
    "path": {"type": "path"},
    "endpoint": {"type": "str"},
    "ca_cert": {"type": "path"},
    "upstreams": {"type": "list", "elements": "str", "default": []},
    "qualify": {"type": "bool", "default": False},
    "fallback": {"type": "bool", "default": True},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "dial_timeout": {"type": "str", "default": ""},
    "program": {"type": "str", "default": "containerd"},
    "backup": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
MIRROR_RULES: dict[str, Any] = {"required_if": [("state", "present", ("endpoint", "upstreams"))]}


@dataclass(frozen=True)
class MirrorSettings:
    """The options of ``k8scr_mirror``; ``mirror`` is None to remove it."""

    runtime: str
    path: Path
    upstreams: tuple[str, ...]
    mirror: Mirror | None
    backup: bool
    exclude: tuple[str, ...] = ()
    program: str = "containerd"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> MirrorSettings:
        """Read the module's parameters.

        Raises:
            InputError: An option is invalid.
        """
        upstreams, mirror = validated_upstreams(options["upstreams"]), None
        if options["state"] == "present":
            mirror = Mirror.from_endpoint(
                options["endpoint"] or "",
                qualify=options["qualify"],
                fallback=options["fallback"],
                ca_cert=options["ca_cert"] or "",
                dial_timeout=options["dial_timeout"],
            )
        runtime = options["runtime"]
        if options["dial_timeout"] and runtime != "containerd":
            raise InputError(f"{runtime} does not support dial_timeout", "Omit it")
        return cls(
            runtime,
            Path(options["path"] or DEFAULT_PATHS[runtime]),
            upstreams,
            mirror,
            options["backup"],
            validated_exclude(options["exclude"], upstreams),
            options["program"],
        )


def run_mirror(module: AnsibleModule) -> dict[str, Any]:
    """Run ``k8scr_mirror`` and return its result.

    Raises:
        K8scrError: An option is invalid, or the configuration cannot be read or changed.
    """
    settings = MirrorSettings.from_options(module.params)
    mirror = settings.mirror
    warnings: list[str] = []
    if mirror is not None and mirror.dial_timeout:
        mirror, warnings = supported_mirror(mirror, print_version(module, settings.program))
    changes, more = plan_mirror(settings.runtime, settings.path, settings.upstreams, mirror, settings.exclude)
    backups = [] if module.check_mode else apply_changes(changes, module, settings.backup)
    for warning in [*warnings, *more]:
        module.warn(warning)
    return {
        "changed": any(change.changed for change in changes),
        "files": [change.result for change in changes],
        "diff": [change.diff for change in changes if change.changed],
        "backups": backups,
    }
