# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""This collection's modules, each alone and in a playbook."""

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

from .measure import Failed, Finished, Measured, measure
from .registry import NAMESPACE, Registry
from .way import Way
from .works import Work, destinations

HERE = Path(__file__).parent
UPLOADS = ("create", "patch", "update")
"""Verbs of requests that upload something."""


def push(isal: bool = True, **options: Any) -> Way:
    """``k8scr_push`` alone.

    Args:
        isal: Whether it may use the package, where it is installed.
        options: More options of the module.
    """

    def act(registry: Registry, work: Work, names: Sequence[str], _folder: Path) -> Measured:
        return _alone("k8scr_push", registry, {**push_options(work, names), **options}, isal)

    return act


def pull(registry: Registry, work: Work, names: Sequence[str], folder: Path) -> Measured:
    """``k8scr_pull`` alone."""
    return _alone("k8scr_pull", registry, _pull_options(work, names, folder))


def push_in_a_playbook(registry: Registry, work: Work, names: Sequence[str], _folder: Path) -> Measured:
    """``k8scr_push`` as a task, ``ansible-playbook`` and all."""
    return _played(registry, "k8scr.core.k8scr_push", push_options(work, names))


def pull_in_a_playbook(registry: Registry, work: Work, names: Sequence[str], folder: Path) -> Measured:
    """``k8scr_pull`` as a task, ``ansible-playbook`` and all."""
    return _played(registry, "k8scr.core.k8scr_pull", _pull_options(work, names, folder))


def nothing_in_a_playbook(registry: Registry, _work: Work, _names: Sequence[str], folder: Path) -> Measured:
    """A task whose module does nothing: what Ansible itself takes."""
    stamp = folder / "stamp"
    finished = _play(registry, {"empty": {"path": str(stamp)}})
    return replace(finished.measured, first=float(stamp.read_text()) - finished.started_at)


def importing(line: str) -> Way:
    """A Python that runs one line: what of a module's time is its start."""

    def act(_registry: Registry, _work: Work, _names: Sequence[str], _folder: Path) -> Measured:
        return measure([sys.executable, "-c", line]).measured

    return act


def push_options(work: Work, names: Sequence[str]) -> dict[str, Any]:
    """What a task says to push the images under these names."""
    images = [{"source": source.reference, "name": _full(name)} for source, name in zip(work.sources, names)]
    return {"images": images, **_engine(work)}


def _pull_options(work: Work, names: Sequence[str], folder: Path) -> dict[str, Any]:
    wanted = zip(destinations(work, folder), names)
    return {"images": [{"name": _full(name), "dest": to.reference} for to, name in wanted], **_engine(work)}


def _full(name: str) -> str:
    return f"docker.io/{name}"


def _engine(work: Work) -> dict[str, str]:
    return {"docker_host": work.engine} if work.engine else {}


def _alone(module: str, registry: Registry, options: dict[str, Any], isal: bool = True) -> Measured:
    command = [sys.executable, HERE / "task.py", module, *(() if isal else ("--without-isal",))]
    position = audit.position()
    # What was pushed before is not to be remembered, but found out.
    with tempfile.TemporaryDirectory() as cache:
        finished = measure(
            command,
            more={"registry": registry.pids},
            stdin=json.dumps({**registry.options, **options}),
            environment={"XDG_CACHE_HOME": cache},
        )
    result, inside = filter(None, finished.output.splitlines())
    if json.loads(result).get("failed"):
        raise Failed(f"{module}: {json.loads(result)['msg']}")
    return replace(_seen(finished, position), inside=float(inside))


def _played(registry: Registry, module: str, options: dict[str, Any]) -> Measured:
    position = audit.position()
    return _seen(_play(registry, {module: {**registry.options, **options}}), position)


def _play(registry: Registry, task: dict[str, Any]) -> Finished:
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
    with tempfile.TemporaryDirectory() as folder:
        playbook = Path(folder) / "play.yml"
        playbook.write_text(yaml.safe_dump(play))
        environment = {"ANSIBLE_LIBRARY": str(HERE / "library"), "XDG_CACHE_HOME": folder}
        return measure(["ansible-playbook", playbook], more={"registry": registry.pids}, environment=environment)


def _seen(finished: Finished, position: int) -> Measured:
    """What was measured, with what the API server's audit log says of it."""
    audit.settle()
    events = [e for e in audit.proxy_events(position) if e["objectRef"].get("namespace") == NAMESPACE]
    uploads = [_moment(event) for event in events if event["verb"] in UPLOADS]
    first = min(uploads) - finished.started_at if uploads else None
    return replace(finished.measured, first=first, requests=len(events))


def _moment(event: dict[str, Any]) -> float:
    """When the API server got the request, in seconds since 1970."""
    return datetime.fromisoformat(event["requestReceivedTimestamp"].replace("Z", "+00:00")).timestamp()
