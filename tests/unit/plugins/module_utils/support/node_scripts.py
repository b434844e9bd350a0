# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node whose files are in a folder of the test, and the scripts that run on nodes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.node_mirror_plan import (
    NODE_FILES_ARGUMENT_SPEC,
    NodePlan,
    NodeSettings,
    plan_node,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.pod_script import NEW_NODE_SCRIPT, NODE_SCRIPT
from unit.plugins.module_utils.support.settings import module_options

ENDPOINT = "http://10.96.10.20:5001"
CONTAINERD = r"""#!/bin/sh
# Prints its configuration, as containerd does; a setting of the registry is in a table of its own.
[ "$1" != --version ] || { echo "containerd github.com/containerd/containerd/v2 v2.4.2 abc"; exit; }
[ "$*" != "config default" ] || { printf 'version = 3\n'; exit; }
! grep -q invalid "$2" || { echo "failed to load TOML" >&2; exit 1; }
printf 'imports = ["%s"]\n' "$2"
cat "$2"
"""


class ScriptedNode:
    """A node in a folder; ``shell`` runs its script."""

    def __init__(self, folder: Path, shell: Sequence[str] = ("sh",)) -> None:
        self.folder = folder
        self.shell = shell
        self.commands: list[str] = []
        self.containerd = folder / "bin/containerd"
        self.containerd.parent.mkdir(parents=True)
        self.containerd.write_text(CONTAINERD)
        self.containerd.chmod(0o755)

    def script(self, arguments: Sequence[str], data: bytes) -> bytes:
        """Run the script of nodes with input, and return its output."""
        self.commands.append(arguments[0])
        command = [*self.shell, "-c", NODE_SCRIPT, "k8scr", *arguments]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        if done.returncode:
            raise DestinationError(done.stderr.decode())
        return done.stdout

    def settings(self, **options: Any) -> NodeSettings:
        """Return the settings of a task; by default, for containerd with hosts.toml files in the folder ``certs.d``."""
        defaults = {
            "runtime": "containerd",
            "endpoint": ENDPOINT,
            "upstreams": ["docker.io"],
            "config": str(self.folder / "config.toml"),
            "program": str(self.containerd),
            "path": str(self.folder / "certs.d"),
        }
        return NodeSettings.from_options(module_options(NODE_FILES_ARGUMENT_SPEC, **{**defaults, **options}))

    def plan(self, copies: Path, **options: Any) -> NodePlan:
        """Plan the changes of a task."""
        copies.mkdir()
        return plan_node(self.settings(**options), self.script, copies)

    def apply(self, answer: str) -> None:
        """Make the changes of a plan."""
        self.script(["apply", str(len(answer))], answer.encode())

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> Path:
        """Write a file of the node."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(mode)
        return file

    def files(self) -> dict[str, bytes]:
        """Return the contents of the files, without the program and backups."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and path.parent.name != "bin")
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found if path.name[-1] != "~"}

    def start_new_node_pod(self, answers: dict[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the script of the DaemonSet's Pods with the changes in its Secret."""
        folder = self.folder.parent / "pod"
        (folder / "answers").mkdir(parents=True)
        for key, text in answers.items():
            (folder / "answers" / key).write_text(text)
        chroot = folder / "chroot"
        chroot.write_text('#!/bin/sh\n[ "$1" = /host ] || exit 1\nshift\nexec "$@"\n')
        chroot.chmod(0o755)
        script = NEW_NODE_SCRIPT.replace("/answers", f"{folder}/answers").replace("chroot ", f"{chroot} ")
        arguments = [word for each in self.settings(**options).first_observations for word in each]
        environment = {**os.environ, "K8SCR_SCRIPT": NODE_SCRIPT}
        command = [*self.shell, "-c", script, "k8scr", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
