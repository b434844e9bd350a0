# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan the changes to a node's files from copies of them, and the changes of new nodes with such files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError, K8scrError
from ..node.config_files import FileChange, apply_changes, read_text
from ..node.containerd_config import ContainerdConfig, plan_config_path, plan_config_path_removal
from ..node.containerd_version import supported_mirror
from ..node.mirror import Mirror
from ..node.mirror_plan import DEFAULT_PATHS, plan_mirror
from ..node.pod_containerd import PodContainerd, Script
from ..node.pod_copy import CopyFiles, NodeCopy, Observation, Record, parse_records, require_safe
from .mirror import MIRROR_ARGUMENT_SPEC, MirrorSettings

NODE_FILES_ARGUMENT_SPEC: dict[str, Any] = {
    **{name: option for name, option in MIRROR_ARGUMENT_SPEC.items() if name != "ca_cert"},
    "runtime": {"type": "str", "choices": list(DEFAULT_PATHS), "default": "containerd"},
    # These paths are on the nodes.
    "path": {"type": "str"},
    # The options of the cluster have another ca_cert.
    "mirror_ca_cert": {"type": "str"},
    "config": {"type": "str", "default": "/etc/containerd/config.toml"},
}
_K3S_OPTIONS = "# Written by k8scr.core.\ndisable-default-registry-endpoint: true\n"
"""The same text as in the task of the role ``node_mirror``."""


@dataclass(frozen=True)
class NodeSettings:
    """The options for the files of nodes.

    Attributes:
        mirror: The options of ``k8scr_mirror``.
        reads_config: Whether containerd's configuration names the folder of ``hosts.toml`` files.
        config: containerd's configuration file.
    """

    mirror: MirrorSettings
    reads_config: bool
    config: str

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> NodeSettings:
        """Read the module's parameters.

        Raises:
            InputError: An option is invalid.
        """
        mirror = MirrorSettings.from_options({**options, "ca_cert": options["mirror_ca_cert"]})
        config, program = require_safe(options["config"], "config"), options["program"]
        require_safe(str(mirror.path), "path")
        if mirror.mirror and mirror.mirror.ca_cert:
            require_safe(mirror.mirror.ca_cert, "mirror_ca_cert")
        if program.startswith("-") or not program.isprintable():
            raise InputError(f"program {program!r} is not the name of a program")
        return cls(mirror, mirror.runtime == "containerd" and not options["path"], config)

    @property
    def first_observations(self) -> list[Observation]:
        """What to observe on a node before the folder of ``hosts.toml`` files is known."""
        path, mirror = self.mirror.path, self.mirror.mirror
        program = self.mirror.program
        version: list[Observation] = [("version", program)] if mirror and mirror.dial_timeout else []
        if self.reads_config:
            return [*version, ("content", self.config), ("program", program, self.config)]
        if self.mirror.runtime == "containerd":
            return [*version, *observed_folder(str(path))]
        if self.mirror.runtime == "k3s":
            return [("content", str(path)), ("content", str(_k3s_options(path)))]
        names = [f"{path}/*.conf", f"{path.parent}/registries.conf", f"{path.parent}/certs.d/*/k8scr-core.crt"]
        return [("content", name) for name in (*names, *([mirror.ca_cert] if mirror and mirror.ca_cert else []))]


@dataclass(frozen=True)
class NodePlan:
    """The planned changes of a node.

    Attributes:
        files: The entries of the module's result.
        diff: The entries for ``--diff``.
        answer: The changes as the script takes them; empty for none.
        observations: What to observe for the key of the node's files.
        key: The key after the changes.
        warnings: Warnings for the user.
        needs_restart: Whether the runtime must be restarted or reloaded.
        answers: The changes of new nodes by the keys of their files, see :mod:`..node.pod_script`.
    """

    files: list[dict[str, Any]]
    diff: list[dict[str, str]]
    answer: str
    observations: list[Observation]
    key: str
    warnings: list[str]
    needs_restart: bool
    answers: dict[str, str]


def plan_node(settings: NodeSettings, script: Script, folder: Path) -> NodePlan:
    """Read a node's files and plan their changes.

    Args:
        script: Runs the script on the node.
        folder: A folder for copies, which only this user can read.

    Raises:
        K8scrError: The node cannot be read, or its files cannot be changed.
    """
    mirror, certs_d = settings.mirror.mirror, str(settings.mirror.path)
    observations = settings.first_observations
    records = observe(script, observations)
    if settings.reads_config:
        certs_d = require_safe(_State(settings, folder / "first", records, script).folder(mirror), "config_path")
        observations += observed_folder(certs_d)
        records = observe(script, observations)
    state = _State(settings, folder / "current", records, script)
    changes = state.plan(mirror, certs_d)
    files, diff = state.results(changes)
    answer, warnings = state.answer(changes), changes.warnings
    state.apply(changes)
    key = state.key(observations)
    answers = {}
    if mirror is not None:
        answers = {**state.folder_answer(certs_d), key: ""}
        with suppress(K8scrError):
            # A new node has the files of this node without the mirror.
            new = _State(settings, folder / "new", records, script)
            new.apply(new.plan(None, certs_d))
            answers.update(new.folder_answer(certs_d))
            answers[new.key(observations)] = new.answer(new.plan(mirror, certs_d))
    return NodePlan(files, diff, answer, observations, key, warnings, changes.need_restart, answers)


def observe(script: Script, observations: Sequence[Observation]) -> list[Record]:
    """Return the records of files and programs on a node."""
    return parse_records(script(["observe", *chain.from_iterable(observations)], b""))


def observed_folder(certs_d: str) -> list[Observation]:
    """Return what to observe in a folder of ``hosts.toml`` files; the script for new nodes has the same list."""
    return [("name", f"{certs_d}/*"), ("name", f"{certs_d}/*/*"), ("content", f"{certs_d}/*/hosts.toml")]


@dataclass(frozen=True)
class _Changes:
    """The changes of a copy.

    Attributes:
        config: The change of containerd's configuration; None if it is not read.
        mirror: The changes for the mirror.
        need_restart: Whether the runtime reads the files only when it starts, or when it is reloaded.
    """

    config: FileChange | None
    mirror: list[FileChange]
    warnings: list[str]
    need_restart: bool

    @property
    def all(self) -> list[FileChange]:
        """The changes in the order in which they are made."""
        return [*([self.config] if self.config else []), *self.mirror]


class _State:
    """A copy of a node's files, and the node's containerd."""

    def __init__(self, settings: NodeSettings, folder: Path, records: Sequence[Record], script: Script) -> None:
        folder.mkdir(mode=0o700)
        self._settings = settings
        self._copy = NodeCopy(folder, records)
        self._versions = [record for record in records if record.kind == "version"]
        self._containerd: PodContainerd | None = None
        self._config: ContainerdConfig | None = None
        if settings.reads_config:
            text = self._config_text()
            self._containerd = PodContainerd(script, settings.mirror.program, settings.config, records, text)
            self._config = ContainerdConfig(self._copy.path(settings.config), self._containerd)

    def folder(self, mirror: Mirror | None) -> str:
        """Return the folder of ``hosts.toml`` files."""
        with self._copy.errors_on_node():
            return _plan_config(self._config, mirror)[1] if self._config else str(self._settings.mirror.path)

    def plan(self, mirror: Mirror | None, certs_d: str) -> _Changes:
        """Plan the changes that make the runtime use a mirror, or none (None)."""
        settings, copy = self._settings.mirror, self._copy
        if mirror is not None and settings.runtime == "containers" and mirror.ca_cert:
            mirror = replace(mirror, ca_cert=str(copy.path(mirror.ca_cert)))
        unsupported: list[str] = []
        if mirror is not None and mirror.dial_timeout:
            version = b"".join(record.content for record in self._versions).decode("utf-8", "replace")
            mirror, unsupported = supported_mirror(mirror, version)
        with copy.errors_on_node():
            config = _plan_config(self._config, mirror)[0] if self._config else None
            path = copy.path(certs_d)
            changes, warnings = plan_mirror(settings.runtime, path, settings.upstreams, mirror, settings.exclude)
            if settings.runtime == "k3s":
                options = copy.path(_k3s_options(settings.path))
                text = _K3S_OPTIONS if mirror is not None and not mirror.fallback else None
                changes.append(FileChange(options, read_text(options), text, whole=True))
        immediate = settings.runtime == "containerd"
        restarting = [config] if immediate else changes
        needs_restart = any(change is not None and change.changed for change in restarting)
        return _Changes(config, changes, [copy.on_node(text) for text in (*unsupported, *warnings)], needs_restart)

    def results(self, changes: _Changes) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Return the entries for the module's result and for ``--diff``."""
        on_node = self._copy.on_node
        shown = [change for change in changes.all if change.changed or change is not changes.config]
        files = [{**change.result, "path": on_node(str(change.path))} for change in shown]
        diffs = [change.diff for change in shown if change.changed]
        headers = ("before_header", "after_header")
        return files, [{**diff, **{name: on_node(diff[name]) for name in headers}} for diff in diffs]

    def answer(self, changes: _Changes) -> str:
        """Return the changes as the script takes them. The configuration of containerd is always backed up."""
        first = self._copy.answer([changes.config] if changes.config else [], backup=True)
        return first + self._copy.answer(changes.mirror, self._settings.mirror.backup)

    def apply(self, changes: _Changes) -> None:
        """Make the changes in the copy."""
        with self._copy.errors_on_node():
            apply_changes(changes.all, CopyFiles(), backup=False)

    def key(self, observations: Sequence[Observation]) -> str:
        """Return the key of the files."""
        dumps = [self._containerd.record(self._config_text())] if self._containerd else []
        return self._copy.key(observations, [*self._versions, *dumps])

    def folder_answer(self, certs_d: str) -> dict[str, str]:
        """Return the folder of ``hosts.toml`` files by the key of containerd's configuration, if it is read."""
        first = self._settings.first_observations
        return {f"folder.{self.key(first)}": certs_d} if self._settings.reads_config else {}

    def _config_text(self) -> str | None:
        with self._copy.errors_on_node():
            return read_text(self._copy.path(self._settings.config))


def _plan_config(config: ContainerdConfig, mirror: Mirror | None) -> tuple[FileChange, str]:
    plan = plan_config_path_removal if mirror is None else plan_config_path
    return plan(config, DEFAULT_PATHS["containerd"])


def _k3s_options(registries: Path) -> Path:
    return registries.parent / "config.yaml.d/k8scr-core.yaml"
