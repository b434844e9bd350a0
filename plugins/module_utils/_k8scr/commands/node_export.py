# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_node_export``: find images in a node's containerd, and export them to archives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..errors import InputError, SourceError
from ..node.config_toml import configured_sandbox
from ..node.host import host_platform
from ..node.image_export import FoundImage, State, effective_config, export_image, find_images
from ..node.runtime_images import Containerd
from ..oci.digest import digest_of, split_digest
from ..oci.reference import parse_workload_reference
from ..transfer.progress import SILENT, Progress, elapsed
from .containerd_client import CONTAINERD_CLIENT_ARGUMENT_SPEC, containerd_client

NODE_EXPORT_ARGUMENT_SPEC: dict[str, Any] = {
    "images": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "platforms": {"type": "list", "elements": "str", "default": []},
            "workloads": {"type": "list", "elements": "str", "default": []},
        },
    },
    "folder": {"type": "path"},
    **CONTAINERD_CLIENT_ARGUMENT_SPEC,
}
_NOT_IN_FILE_NAMES = re.compile("[^a-z0-9._-]+")


def run_node_export(module: AnsibleModule, progress: Progress = SILENT) -> dict[str, Any]:
    """Run ``k8scr_node_export`` and return its result. In check mode, images may be missing or incomplete.

    Raises:
        InputError: ``folder`` is missing.
        SourceError: containerd's configuration cannot be read, or an image cannot be exported.
        ClusterError: containerd rejects a command.
        DestinationError: An archive cannot be written.
    """
    options = module.params
    platform = host_platform()
    wanted = [image for image in options["images"] if platform in (image["platforms"] or [platform])]
    users = {image["name"]: image["workloads"] for image in wanted}
    if users and not options["folder"] and not module.check_mode:
        raise InputError("folder is not set", "Set it to the folder for the archives")
    containerd = Containerd(module, containerd_client(options))
    images = find_images(containerd, list(users))
    if not module.check_mode:
        for image in images:
            with progress.status(elapsed(f"exporting {image.name}")):
                export_image(containerd, image, Path(options["folder"]) / archive_name(image.name, platform))
    return {
        "changed": any(image.state is State.COMPLETE for image in images),
        "platform": platform,
        "sandbox": {"name": _sandbox(module), "platforms": [platform]},
        "images": [_entry(image, platform, users[image.name]) for image in images],
    }


def archive_name(name: str, platform: str) -> str:
    """Return the file name of the archive of an image, which differs for each name and platform."""
    repository = name.rpartition("/")[2].partition("@")[0].partition(":")[0]
    prefix = split_digest(digest_of(f"{platform} {name}".encode()))[1][:12]
    return f"{prefix}-{_NOT_IN_FILE_NAMES.sub('-', repository)}.tar"


def _entry(image: FoundImage, platform: str, users: Sequence[str]) -> dict[str, Any]:
    file = archive_name(image.name, platform)
    used = f", used by {' and '.join(users)}" if users else ""
    return {
        "image": {"name": image.name, "digest": image.digest, "file": file},
        "state": image.state.value,
        "reason": f"{image.reason} for {platform}{used}" if image.reason else "",
    }


def _sandbox(module: AnsibleModule) -> str:
    """Return the full name of the sandbox image in containerd's effective configuration.

    Raises:
        SourceError: The configuration cannot be read, or it names none.
        InputError: The name is invalid.
    """
    options = module.params
    name = configured_sandbox(effective_config(module, options["containerd"], Path(options["config"])))
    if not name:
        raise SourceError("containerd's configuration names no sandbox image", "Set config to the configuration in use")
    return str(parse_workload_reference(name))
