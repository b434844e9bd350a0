# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images in a node's container runtime: which are there, and how they get there and away again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Protocol

from ..errors import ClusterError, InputError

Run = Callable[[Sequence[str]], "tuple[int, str, str]"]
"""Runs a command, and returns its status and what it printed on both ways out."""

PINNED = "io.cri-containerd.pinned"
"""The label that keeps the kubelet's garbage collection from an image (containerd, docs/cri/config.md)."""
OURS = "k8scr.core/preloaded"
"""Our label: what we have done to an image."""
_IMPORTED, _PINNED = "imported", "pinned"
_LACKING = 125


@dataclass(frozen=True)
class Wanted:
    """An image that a node shall have.

    Attributes:
        name: Its full name.
        digest: The digest of its manifest or index; empty if it has none of its own.
        config_digests: The digests of its configs, one for each platform.
        archive: Where the node has the archive that it is in.
    """

    name: str
    digest: str
    config_digests: frozenset[str]
    archive: str

    @classmethod
    def from_options(cls, image: Mapping[str, Any], folder: str) -> Wanted:
        """Return the image that an entry of the module's options describes."""
        return cls(image["name"], image["digest"], frozenset(image["config_digests"]), f"{folder}/{image['file']}")


class Runtime(Protocol):
    """A container runtime's images."""

    def present(self, images: Sequence[Wanted], check_mode: bool) -> dict[str, str]:
        """Make the images be there; returns what became of each.

        Raises:
            ClusterError: The runtime refuses.
        """

    def absent(self, images: Sequence[Wanted], check_mode: bool) -> dict[str, str]:
        """Take away what :meth:`present` has put there; returns what became of each.

        Args:
            images: The images; none for all.

        Raises:
            ClusterError: The runtime refuses.
        """


@dataclass(frozen=True)
class _Record:
    """An image that containerd has under a name."""

    digest: str
    labels: Mapping[str, str]


class Containerd:
    """containerd's images.

    Args:
        run: Runs a command.
        program: Its client and the options that every command of it takes.
        snapshotter: What unpacks images; empty for its default.
        pin: Whether images are kept from the kubelet's garbage collection.
    """

    def __init__(self, run: Run, program: Sequence[str], snapshotter: str = "", pin: bool = True) -> None:
        self._run = run
        self._program = program
        self._snapshotter = snapshotter
        self._pin = pin

    def present(self, images: Sequence[Wanted], check_mode: bool) -> dict[str, str]:
        """See :meth:`Runtime.present`."""
        before = self._list(f'name=="{image.name}"' for image in images)
        lacking = [image for image in images if not self._is_there(image, before.get(image.name))]
        missing = {image.name for image in lacking}
        if not check_mode:
            for archive in dict.fromkeys(image.archive for image in lacking):
                self._import(archive)
        done: dict[str, str] = {}
        for image in images:
            record = before.get(image.name)
            labels = dict(record.labels) if record else {}
            wanted = self._labels(labels, image.name in missing)
            imported_anew = any(image.archive == other.archive for other in lacking)
            if not check_mode and (labels != wanted or imported_anew):
                self._label(image.name, wanted)
            done[image.name] = "imported" if image.name in missing else "pinned" if labels != wanted else "unchanged"
        return done

    def absent(self, images: Sequence[Wanted], check_mode: bool) -> dict[str, str]:
        """See :meth:`Runtime.absent`."""
        everything = self._list(())
        names = [image.name for image in images]
        done = dict.fromkeys(names, "unchanged")
        for name, record in everything.items():
            ours = record.labels.get(OURS)
            if not ours or (names and name not in names):
                continue
            done[name] = "removed" if ours == _IMPORTED else "unpinned"
            if check_mode:
                continue
            if ours == _IMPORTED:
                self._remove(name, record.digest)
            else:
                self._label(name, {key: text for key, text in record.labels.items() if key not in (OURS, PINNED)})
        return done

    def _labels(self, before: Mapping[str, str], imported: bool) -> dict[str, str]:
        labels = dict(before)
        if imported:
            labels[OURS] = _IMPORTED
        if self._pin and labels.get(PINNED) != "pinned":
            labels[PINNED] = "pinned"
            labels.setdefault(OURS, _PINNED)
        return labels

    def _is_there(self, image: Wanted, record: _Record | None) -> bool:
        if record is None:
            return False
        if image.digest:
            return record.digest == image.digest
        return not image.config_digests.isdisjoint(self._configs(record.digest))

    def _configs(self, digest: str, depth: int = 0) -> set[str]:
        status, printed, _said = self._run([*self._program, "content", "get", digest])
        try:
            manifest = json.loads(printed) if not status else {}
        except ValueError:
            return set()
        if "config" in manifest:
            return {str(manifest["config"].get("digest"))}
        if depth:
            return set()
        children = [child["digest"] for child in manifest.get("manifests") or []]
        return {config for child in children for config in self._configs(child, depth + 1)}

    def _list(self, filters: Iterable[str]) -> dict[str, _Record]:
        records = {}
        for line in self._ctr("images", "list", *filters).splitlines()[1:]:
            words = line.split()
            digest = next((word for word in words[1:] if word.startswith("sha256:")), None)
            if digest:
                pairs = (label.partition("=") for label in words[-1].split(",") if "=" in label)
                records[words[0]] = _Record(digest, {key: text for key, _equals, text in pairs})
        return records

    def _import(self, archive: str) -> None:
        options = ["--snapshotter", self._snapshotter] if self._snapshotter else []
        options += ["--label", f"{PINNED}=pinned"] if self._pin else []
        self._ctr("images", "import", *options, archive)

    def _label(self, name: str, wanted: Mapping[str, str]) -> None:
        # An import leaves an image with the labels that it names, and an empty value takes a label away.
        now = self._list([f'name=="{name}"'])
        if name not in now:
            raise ClusterError(f"containerd has no image {name} after the import", "Look into its log")
        labels = {**dict.fromkeys(now[name].labels, ""), **wanted}
        self._ctr("images", "label", name, *(f"{key}={text}" for key, text in labels.items()))

    def _remove(self, name: str, digest: str) -> None:
        others = [other for other, record in self._list(()).items() if record.digest == digest and other != name]
        # Kubernetes' part of containerd notes each image under its config's digest too, which keeps its content.
        bare = [other for other in others if other.startswith("sha256:")]
        self._ctr("images", "remove", name, *(bare if len(bare) == len(others) else ()))

    def _ctr(self, *arguments: str) -> str:
        status, printed, said = self._run([*self._program, *arguments])
        if status:
            raise ClusterError(f"containerd refused to {' '.join(arguments[:2])}: {said.strip()[-500:]}")
        return printed


class Podman:
    """The images that Podman and CRI-O share.

    Args:
        run: Runs a command.
        program: Podman, and the options that every command of it takes.
    """

    def __init__(self, run: Run, program: Sequence[str]) -> None:
        self._run = run
        self._program = program

    def present(self, images: Sequence[Wanted], check_mode: bool) -> dict[str, str]:
        """See :meth:`Runtime.present`."""
        lacking = [image for image in images if self._config(image.name) not in image.config_digests]
        if not check_mode:
            for archive in dict.fromkeys(image.archive for image in lacking):
                self._podman("load", "--quiet", "--input", archive)
        return {image.name: "imported" if image in lacking else "unchanged" for image in images}

    def absent(self, images: Sequence[Wanted], check_mode: bool) -> dict[str, str]:
        """See :meth:`Runtime.absent`."""
        if not images:
            raise InputError("Podman's images do not say who put them there", "Name the archives that they are from")
        done = {}
        for image in images:
            there = self._config(image.name) in image.config_digests
            done[image.name] = "removed" if there else "unchanged"
            if there and not check_mode:
                self._podman("rmi", image.name)
        return done

    def _config(self, name: str) -> str | None:
        status, printed, said = self._run([*self._program, "image", "inspect", "--format", "{{.Id}}", name])
        if not status:
            return f"sha256:{printed.strip()}"
        if status != _LACKING or ("no such" not in said.lower() and "not known" not in said.lower()):
            raise ClusterError(f"podman refused to inspect {name}: {said.strip()[-500:]}")
        return None

    def _podman(self, *arguments: str) -> None:
        status, _printed, said = self._run([*self._program, *arguments])
        if status:
            raise ClusterError(f"podman refused to {arguments[0]}: {said.strip()[-500:]}")
