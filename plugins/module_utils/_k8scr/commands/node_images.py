# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_node_images``: import images from archives into a node's container runtime, or remove them."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..errors import DestinationError, InputError
from ..files.partial_file import delete_expired_partials, partial_path
from ..node.config_toml import configured_snapshotter
from ..node.host import HostCommands, MissingProgramError, run_program
from ..node.runtime_images import Containerd, NodeImage, Podman, Runtime
from ..transfer.progress import SILENT, Progress, elapsed
from .containerd_client import CONTAINERD_CLIENT_ARGUMENT_SPEC, containerd_client

_IMAGE_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "digest": {"type": "str", "default": ""},
    "config_digests": {"type": "list", "elements": "str", "default": []},
    "file": {"type": "str", "required": True},
    "archive": {"type": "str"},
}
NODE_IMAGES_ARGUMENT_SPEC: dict[str, Any] = {
    "images": {"type": "list", "elements": "dict", "default": [], "options": _IMAGE_SPEC},
    "folder": {"type": "path", "default": "/var/lib/k8scr"},
    "delete_archives": {"type": "bool", "default": False},
    "runtime": {"type": "str", "choices": ["containerd", "containers"], "default": "containerd"},
    "snapshotter": {"type": "str", "default": ""},
    "pinned": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    **CONTAINERD_CLIENT_ARGUMENT_SPEC,
}
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


@dataclass(frozen=True)
class NodeImagesSettings:
    """The options of ``k8scr_node_images``; ``present`` stands for ``state``.

    Attributes:
        program: The runtime's client with the options of every command.
    """

    images: tuple[ImageEntry, ...]
    folder: Path
    delete_archives: bool
    runtime: str
    program: tuple[str, ...]
    snapshotter: str
    containerd: str
    config: str
    pinned: bool
    present: bool

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> NodeImagesSettings:
        """Read the module's parameters."""
        program: tuple[str, ...] = (options["program"] or "podman",)
        if options["runtime"] == "containerd":
            program = containerd_client(options)
        return cls(
            tuple(ImageEntry.from_options(entry, options["folder"]) for entry in options["images"]),
            Path(options["folder"]),
            options["delete_archives"],
            options["runtime"],
            program,
            options["snapshotter"],
            options["containerd"],
            options["config"],
            options["pinned"],
            options["state"] == "present",
        )


def run_node_images(module: AnsibleModule, progress: Progress = SILENT) -> dict[str, Any]:
    """Run ``k8scr_node_images`` and return its result.

    Raises:
        K8scrError: An option is invalid, the runtime rejects a command, or an archive cannot be deleted.
    """
    settings = NodeImagesSettings.from_options(module.params)
    if settings.present:
        check_names(settings.images)
    runtime = open_runtime(settings, module, progress)
    run = runtime.import_images if settings.present else runtime.remove_images
    actions = run([entry.image for entry in settings.images], module.check_mode)
    for name, action in actions.items():
        if action != "unchanged" and not module.check_mode:
            progress.line(f"{name} {action}")
    if settings.delete_archives and not module.check_mode:
        delete_archives(settings.folder, {entry.file for entry in settings.images})
    return {
        "changed": any(action != "unchanged" for action in actions.values()),
        "images": [{"name": name, "action": action} for name, action in actions.items()],
        "lacking": sorted({entry.file for entry in settings.images if actions.get(entry.image.name) == "imported"}),
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


def open_runtime(settings: NodeImagesSettings, commands: HostCommands, progress: Progress = SILENT) -> Runtime:
    """Return the container runtime of a node, with the snapshotter that its configuration sets."""

    def status(text: str) -> AbstractContextManager[None]:
        return progress.status(elapsed(text))

    if settings.runtime == "containers":
        return Podman(commands, settings.program, status)
    snapshotter = settings.snapshotter or _configured_snapshotter(settings, commands)
    return Containerd(commands, settings.program, snapshotter, settings.pinned, status)


def _configured_snapshotter(settings: NodeImagesSettings, commands: HostCommands) -> str:
    command = [settings.containerd, "--config", settings.config, "config", "dump"]
    try:
        status, printed, _errors = run_program(commands, command)
    except MissingProgramError:
        # containerd is part of another program, as in k3s.
        return ""
    return "" if status else configured_snapshotter(printed)


def _diff(actions: Mapping[str, str]) -> dict[str, str]:
    changed = {name: _DIFF[action] for name, action in actions.items() if action in _DIFF}
    return {
        "before": "".join(f"{name}: {before}\n" for name, (before, _after) in changed.items() if before),
        "after": "".join(f"{name}: {after}\n" for name, (_before, after) in changed.items() if after),
    }
