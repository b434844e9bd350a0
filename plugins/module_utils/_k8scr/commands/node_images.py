# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_node_images``: import images from archives into a node's container runtime, or remove them."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..errors import DestinationError, InputError
from ..files.partial_file import delete_expired_partials, partial_path
from ..node.config_toml import configured_snapshotter
from ..node.runtime_images import Containerd, NodeImage, Podman, Runtime

_DIFF = {
    "imported": ("", "present"),
    "pinned": ("present", "present, pinned"),
    "removed": ("present", ""),
    "unpinned": ("present, pinned", "present"),
}
"""The state of an image before and after each action."""


@dataclass(frozen=True)
class ImageEntry:
    """An entry of the option ``images``.

    Attributes:
        file: The file name of the image's archive.
        source: The path of the archive on the controller, or the file name if it is unknown.
    """

    image: NodeImage
    file: str
    source: str

    @classmethod
    def from_options(cls, entry: Mapping[str, Any], folder: str) -> ImageEntry:
        """Return an entry of a module's parameters."""
        archive = f"{folder}/{entry['file']}"
        image = NodeImage(entry["name"], entry["digest"], frozenset(entry["config_digests"]), archive)
        return cls(image, entry["file"], entry["archive"] or entry["file"])


def run_node_images(module: AnsibleModule) -> dict[str, Any]:
    """Run ``k8scr_node_images`` and return its result.

    Raises:
        K8scrError: A parameter is not valid, the runtime rejects a command, or an archive cannot be deleted.
    """
    parameters, present = module.params, module.params["state"] == "present"
    entries = [ImageEntry.from_options(entry, parameters["folder"]) for entry in parameters["images"]]
    if present:
        check_names(entries)
    runtime = _open_runtime(module)
    run = runtime.import_images if present else runtime.remove_images
    actions = run([entry.image for entry in entries], module.check_mode)
    if parameters["delete_archives"] and not module.check_mode:
        delete_archives(Path(parameters["folder"]), {entry.file for entry in entries})
    return {
        "changed": any(action != "unchanged" for action in actions.values()),
        "images": [{"name": name, "action": action} for name, action in actions.items()],
        "lacking": sorted({entry.file for entry in entries if actions.get(entry.image.name) == "imported"}),
        "diff": _diff(actions),
    }


def check_names(entries: Iterable[ImageEntry]) -> None:
    """Check that different images have different names: otherwise each run would replace one image with another.

    Raises:
        InputError: Different images have the same name.
    """
    known: dict[str, ImageEntry] = {}
    for entry in entries:
        other = known.setdefault(entry.image.name, entry)
        if entry.image.digest and other.image.digest:
            same = entry.image.digest == other.image.digest
        else:
            same = not entry.image.config_digests.isdisjoint(other.image.config_digests)
        if not same:
            raise InputError(
                f"{other.source} and {entry.source} have different images named {entry.image.name}",
                "Remove one of the archives",
            )


def delete_archives(folder: Path, names: Iterable[str]) -> None:
    """Delete archives and their partial files, and the folder if it is empty then.

    Raises:
        DestinationError: A file cannot be deleted.
    """
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
            partial_path(folder / name).unlink(missing_ok=True)
        delete_expired_partials(folder)
        folder.rmdir()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTEMPTY):
            return
        raise DestinationError(f"the archives in {folder} cannot be deleted: {error.strerror}") from error


def _open_runtime(module: AnsibleModule) -> Runtime:
    parameters = module.params

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        status, printed, errors = module.run_command(list(command), environ_update={"LC_ALL": "C"})
        return int(status), str(printed), str(errors)

    if parameters["runtime"] == "containers":
        return Podman(run, [parameters["program"] or "podman"])
    program = [parameters["program"] or "ctr", "--address", parameters["socket"]]
    program += ["--namespace", parameters["containerd_namespace"]]
    return Containerd(run, program, parameters["snapshotter"] or _default_snapshotter(module), parameters["pinned"])


def _default_snapshotter(module: AnsibleModule) -> str:
    command = [module.params["containerd"], "--config", module.params["config"], "config", "dump"]
    try:
        status, printed, _errors = module.run_command(command, handle_exceptions=False)
    except OSError:
        # containerd is part of another program, as in k3s.
        return ""
    return "" if status else configured_snapshotter(str(printed))


def _diff(actions: Mapping[str, str]) -> dict[str, str]:
    changed = {name: _DIFF[action] for name, action in actions.items() if action in _DIFF}
    return {
        "before": "".join(f"{name}: {before}\n" for name, (before, _after) in changed.items() if before),
        "after": "".join(f"{name}: {after}\n" for name, (_before, after) in changed.items() if after),
    }
