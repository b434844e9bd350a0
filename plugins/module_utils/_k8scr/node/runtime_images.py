# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images in a node's container runtime: list, import and remove them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import ClusterError, InputError
from .host import HostCommands, run_program

PINNED = "io.cri-containerd.pinned"
"""The label that protects an image from the kubelet's garbage collection (containerd, docs/cri/config.md)."""
_COMPRESSED_SUFFIXES = (".gz", ".tgz", ".zst")
_DECOMPRESS = "containerd imports compressed archives since version 2; decompress the archive for older versions"
RECORD = "k8scr.core/preloaded"
"""The label that records the action of an earlier task."""
_IMPORTED, _PINNED = "imported", "pinned"
_PODMAN_FAILED = 125
_UNKNOWN_OPTION = "flag provided but not defined"
"""The error of ctr for an option that its version does not have."""

Status = Callable[[str], "AbstractContextManager[None]"]


def _show_nothing(_text: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class NodeImage:
    """An image that a task imports or removes.

    Attributes:
        name: The full name.
        digest: The digest of the manifest or index; empty if the archive has no such digest.
        config_digests: The digests of the configs, one for each platform.
        archive: The path of its archive on the node.
    """

    name: str
    digest: str
    config_digests: frozenset[str]
    archive: str


class Runtime(Protocol):
    """The images of a container runtime; in check mode, actions are only planned."""

    def import_images(self, images: Sequence[NodeImage], check_mode: bool) -> dict[str, str]:
        """Import missing images, and return the action for each name.

        Raises:
            ClusterError: The runtime rejects a command.
        """

    def remove_images(self, images: Sequence[NodeImage], check_mode: bool) -> dict[str, str]:
        """Revert :meth:`import_images` for the given images or, without any, for all; return the action for each name.

        Raises:
            ClusterError: The runtime rejects a command.
            InputError: The runtime does not record imported images, and ``images`` is empty.
        """


@dataclass(frozen=True)
class Record:
    """An image in containerd."""

    digest: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Containerd:
    """The images of containerd.

    Attributes:
        program: The client with the options of every command.
        snapshotter: The snapshotter that unpacks images; empty for containerd's default.
        pin: Whether to protect images from the kubelet's garbage collection.
        status: Shows a text to the user during a block.
    """

    commands: HostCommands
    program: Sequence[str]
    snapshotter: str = ""
    pin: bool = True
    status: Status = field(default=_show_nothing, compare=False)

    def import_images(self, images: Sequence[NodeImage], check_mode: bool) -> dict[str, str]:
        before = self.records(f'name=="{image.name}"' for image in images)
        missing = {image.name: image for image in images if not self._has(image, before.get(image.name))}
        archives = dict.fromkeys(image.archive for image in missing.values())
        if not check_mode:
            for archive in archives:
                with self.status(f"importing {archive}"):
                    self._import(archive)
        actions: dict[str, str] = {}
        for image in images:
            record = before.get(image.name)
            labels = dict(record.labels) if record else {}
            new_labels = self._new_labels(labels, image.name in missing)
            if not check_mode and (labels != new_labels or image.archive in archives):
                self._label(image.name, new_labels)
            pinned = "pinned" if labels != new_labels else "unchanged"
            actions[image.name] = "imported" if image.name in missing else pinned
        return actions

    def remove_images(self, images: Sequence[NodeImage], check_mode: bool) -> dict[str, str]:
        names = [image.name for image in images]
        actions = dict.fromkeys(names, "unchanged")
        for name, record in self.records(()).items():
            recorded = record.labels.get(RECORD)
            if not recorded or (names and name not in names):
                continue
            actions[name] = "removed" if recorded == _IMPORTED else "unpinned"
            if check_mode:
                continue
            if recorded == _IMPORTED:
                self._remove(name, record.digest)
            else:
                self._label(name, {key: text for key, text in record.labels.items() if key not in (RECORD, PINNED)})
        return actions

    def records(self, filters: Iterable[str]) -> dict[str, Record]:
        """Return the images that match any of the filters, or all without filters, by their names.

        Raises:
            ClusterError: containerd rejects the command.
        """
        records = {}
        for line in self.ctr("images", "list", *filters).splitlines()[1:]:
            words = line.split()
            digest = next((word for word in words[1:] if word.startswith("sha256:")), None)
            if digest:
                pairs = (label.partition("=") for label in words[-1].split(",") if "=" in label)
                records[words[0]] = Record(digest, {key: text for key, _equals, text in pairs})
        return records

    def ctr(self, kind: str, verb: str, *arguments: str, optional: Sequence[str] = ()) -> str:
        """Run a command of the client, and return its output.

        Args:
            optional: Options that are omitted if the version of the client does not have them.

        Raises:
            ClusterError: The command fails.
        """
        status, printed, errors = run_program(self.commands, [*self.program, kind, verb, *optional, *arguments])
        if status and optional and _UNKNOWN_OPTION in errors:
            return self.ctr(kind, verb, *arguments)
        if status:
            raise _command_failed(f"ctr {kind} {verb}", errors)
        return printed

    def _new_labels(self, before: Mapping[str, str], imported: bool) -> dict[str, str]:
        labels = dict(before)
        if imported:
            labels[RECORD] = _IMPORTED
        if self.pin and labels.get(PINNED) != "pinned":
            labels[PINNED] = "pinned"
            labels.setdefault(RECORD, _PINNED)
        return labels

    def _has(self, image: NodeImage, record: Record | None) -> bool:
        if record is None:
            return False
        if image.digest:
            return record.digest == image.digest
        return not image.config_digests.isdisjoint(self._config_digests(record.digest))

    def _config_digests(self, digest: str, depth: int = 0) -> set[str]:
        status, printed, _errors = run_program(self.commands, [*self.program, "content", "get", digest])
        try:
            manifest = json.loads(printed) if not status else {}
        except ValueError:
            return set()
        if "config" in manifest:
            return {str(manifest["config"].get("digest"))}
        if depth:
            return set()
        children = [child["digest"] for child in manifest.get("manifests") or []]
        return {config for child in children for config in self._config_digests(child, depth + 1)}

    def _import(self, archive: str) -> None:
        options = ["--snapshotter", self.snapshotter] if self.snapshotter else []
        # The label protects the images until all labels are set after the import; ctr 1 does not have the option.
        label = ("--label", f"{PINNED}=pinned") if self.pin else ()
        try:
            self.ctr("images", "import", *options, archive, optional=label)
        except ClusterError as error:
            if archive.endswith(_COMPRESSED_SUFFIXES):
                raise ClusterError(error.message, _DECOMPRESS) from error
            raise

    def _label(self, name: str, labels: Mapping[str, str]) -> None:
        # An import replaces the labels of an image. An empty value removes a label.
        current = self.records([f'name=="{name}"'])
        if name not in current:
            raise ClusterError(f"containerd has no image {name} after the import", "Check the log of containerd")
        pairs = {**dict.fromkeys(current[name].labels, ""), **labels}
        self.ctr("images", "label", name, *(f"{key}={text}" for key, text in pairs.items()))

    def _remove(self, name: str, digest: str) -> None:
        others = [other for other, record in self.records(()).items() if record.digest == digest and other != name]
        # containerd's CRI plugin also lists each image under the digest of its config, which keeps the content.
        bare = [other for other in others if other.startswith("sha256:")]
        self.ctr("images", "remove", name, *(bare if len(bare) == len(others) else ()))


@dataclass(frozen=True)
class Podman:
    """The images that Podman and CRI-O share.

    Attributes:
        program: Podman with the options of every command.
        status: Shows a text to the user during a block.
    """

    commands: HostCommands
    program: Sequence[str]
    status: Status = field(default=_show_nothing, compare=False)

    def import_images(self, images: Sequence[NodeImage], check_mode: bool) -> dict[str, str]:
        missing = [image for image in images if self._config_digest(image.name) not in image.config_digests]
        if not check_mode:
            for archive in dict.fromkeys(image.archive for image in missing):
                with self.status(f"importing {archive}"):
                    self._podman("load", "--quiet", "--input", archive)
        return {image.name: "imported" if image in missing else "unchanged" for image in images}

    def remove_images(self, images: Sequence[NodeImage], check_mode: bool) -> dict[str, str]:
        if not images:
            raise InputError("images is empty, and Podman does not record which images were imported", "List them")
        actions = {}
        for image in images:
            exists = self._config_digest(image.name) in image.config_digests
            actions[image.name] = "removed" if exists else "unchanged"
            if exists and not check_mode:
                self._podman("rmi", image.name)
        return actions

    def _config_digest(self, name: str) -> str | None:
        status, printed, errors = run_program(
            self.commands, [*self.program, "image", "inspect", "--format", "{{.Id}}", name]
        )
        if not status:
            return f"sha256:{printed.strip()}"
        if status != _PODMAN_FAILED or ("no such" not in errors.lower() and "not known" not in errors.lower()):
            raise _command_failed(f"podman image inspect {name}", errors)
        return None

    def _podman(self, *arguments: str) -> None:
        status, _printed, errors = run_program(self.commands, [*self.program, *arguments])
        if status:
            raise _command_failed(f"podman {arguments[0]}", errors)


def _command_failed(command: str, errors: str) -> ClusterError:
    return ClusterError(f"the command {command} failed: {errors.strip()[-500:]}")
