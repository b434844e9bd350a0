# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's modules as clients, with and without a playbook."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from cluster import audit

from .client import Client
from .measure import CommandResult, Failed, Measurement, measure
from .registry import NAMESPACE, Registry
from .workloads import Workload, destinations

HERE = Path(__file__).parent
UPLOAD_VERBS = ("create", "patch", "update")
"""Verbs of upload requests in the audit log."""


def push(isal: bool = True, progress: bool = False, **options: Any) -> Client:
    """Return ``k8scr_push`` without a playbook.

    Args:
        isal: Whether the module can import ``isal``.
        progress: Whether the module writes its progress to a file.
        options: More options of the module.
    """

    def run(registry: Registry, workload: Workload, names: Sequence[str], _folder: Path) -> Measurement:
        return _run_module("k8scr_push", registry, {**push_options(workload, names), **options}, isal, progress)

    return run


def pull(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
    """Run ``k8scr_pull`` without a playbook."""
    return _run_module("k8scr_pull", registry, _pull_options(workload, names, folder))


def push_in_playbook(registry: Registry, workload: Workload, names: Sequence[str], _folder: Path) -> Measurement:
    """Run ``k8scr_push`` with ``ansible-playbook``."""
    return _run_task(registry, "k8scr.core.k8scr_push", push_options(workload, names))


def pull_in_playbook(registry: Registry, workload: Workload, names: Sequence[str], folder: Path) -> Measurement:
    """Run ``k8scr_pull`` with ``ansible-playbook``."""
    return _run_task(registry, "k8scr.core.k8scr_pull", _pull_options(workload, names, folder))


def no_op_in_playbook(registry: Registry, _workload: Workload, _names: Sequence[str], folder: Path) -> Measurement:
    """Run a module that does nothing with ``ansible-playbook``, to measure the overhead of Ansible."""
    stamp = folder / "stamp"
    finished = _run_playbook(registry, {"no_op": {"path": str(stamp)}})
    return replace(finished.measured, first=float(stamp.read_text()) - finished.started_at)


def python(code: str) -> Client:
    """Return a Python process that runs this code, to measure the start of a module."""

    def run(_registry: Registry, _workload: Workload, _names: Sequence[str], _folder: Path) -> Measurement:
        return measure([sys.executable, "-c", code]).measured

    return run


def push_options(workload: Workload, names: Sequence[str]) -> dict[str, Any]:
    """Return the options of ``k8scr_push`` for these names."""
    images = [{"source": source.reference, "name": _full(name)} for source, name in zip(workload.sources, names)]
    return {"images": images, **_engine(workload)}


def _pull_options(workload: Workload, names: Sequence[str], folder: Path) -> dict[str, Any]:
    pairs = zip(destinations(workload, folder), names)
    return {"images": [{"name": _full(name), "dest": to.reference} for to, name in pairs], **_engine(workload)}


def _full(name: str) -> str:
    return f"docker.io/{name}"


def _engine(workload: Workload) -> dict[str, str]:
    return {"docker_host": workload.engine} if workload.engine else {}


def _run_module(
    module: str, registry: Registry, options: dict[str, Any], isal: bool = True, progress: bool = False
) -> Measurement:
    command = [sys.executable, HERE / "run_module.py", module, *(() if isal else ("--without-isal",))]
    position = audit.position()
    # An empty cache: the module must query the registry for existing blobs.
    with tempfile.TemporaryDirectory() as cache:
        finished = measure(
            command,
            components={"registry": registry.pids},
            stdin=json.dumps({**registry.options, **options}),
            environment={
                "XDG_CACHE_HOME": cache,
                **({"K8SCR_PROGRESS_FILE": f"{cache}/progress"} if progress else {}),
            },
        )
    result, inside = filter(None, finished.output.splitlines())
    if json.loads(result).get("failed"):
        raise Failed(f"{module}: {json.loads(result)['msg']}")
    return replace(_with_requests(finished, position), inside=float(inside))


def _run_task(registry: Registry, module: str, options: dict[str, Any]) -> Measurement:
    position = audit.position()
    return _with_requests(_run_playbook(registry, {module: {**registry.options, **options}}), position)


def _run_playbook(registry: Registry, task: dict[str, Any]) -> CommandResult:
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
    with tempfile.TemporaryDirectory() as folder:
        playbook = Path(folder) / "play.yml"
        playbook.write_text(yaml.safe_dump(play))
        environment = {"ANSIBLE_LIBRARY": str(HERE / "library"), "XDG_CACHE_HOME": folder}
        return measure(["ansible-playbook", playbook], components={"registry": registry.pids}, environment=environment)


def _with_requests(finished: CommandResult, position: int) -> Measurement:
    """Add the requests in the API server's audit log to the measurement."""
    audit.settle()
    events = [e for e in audit.proxy_events(position) if e["objectRef"].get("namespace") == NAMESPACE]
    uploads = [_received_at(event) for event in events if event["verb"] in UPLOAD_VERBS]
    first = min(uploads) - finished.started_at if uploads else None
    return replace(finished.measured, first=first, requests=len(events))


def _received_at(event: dict[str, Any]) -> float:
    """Return the time at which the API server received the request, in seconds since 1970."""
    return datetime.fromisoformat(event["requestReceivedTimestamp"].replace("Z", "+00:00")).timestamp()
