# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for Pods, and finds their processes."""

from __future__ import annotations

from pathlib import Path

from .errors import ClusterError
from .kubectl import kubectl


def wait_until_ready(*pods: str, namespace: str = "default") -> None:
    """Wait up to a minute until Pods are ready.

    Raises:
        ClusterError: A Pod is not ready, with the states and events of the Pods and of all nodes.
    """
    here = f"--namespace={namespace}"
    try:
        kubectl("wait", "pod", *pods, here, "--for=condition=Ready", "--timeout=60s")
    except ClusterError as error:
        states = kubectl("describe", "pod", *pods, here), kubectl("describe", "nodes")
        raise ClusterError("\n".join((str(error), *states))) from error


def find_processes(namespace: str, pod: str, argument: bytes) -> tuple[int, ...]:
    """Return the host's IDs of a Pod's processes whose command line contains an argument."""
    uid = kubectl("get", "pod", pod, f"--namespace={namespace}", "--output=jsonpath={.metadata.uid}")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            inside = f"pod{uid}" in (folder / "cgroup").read_text()
            if inside and argument in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return tuple(found)
