# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of the audit log."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from cluster import audit, layout
from cluster.errors import ClusterError

PROXY = {"resource": "pods", "subresource": "proxy", "name": "k8scr-0:5000"}


def event(verb: str, reference: dict[str, str], stage: str = "ResponseComplete") -> str:
    return json.dumps({"stage": stage, "verb": verb, "objectRef": reference}) + "\n"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "audit.log"
    monkeypatch.setattr(layout, "AUDIT_LOG", path)
    return path


def verbs(since: int = 0) -> list[str]:
    return [found["verb"] for found in audit.proxy_events(since)]


def test_events_are_empty_without_log(log: Path) -> None:
    assert audit.position() == 0
    assert verbs() == []


def test_proxy_events_list_finished_proxy_requests_once(log: Path) -> None:
    started = event("get", PROXY, stage="ResponseStarted")
    log.write_text(started + event("get", PROXY) + event("list", {"resource": "secrets"}), encoding="utf-8")
    assert verbs() == ["get"]
    assert [found["verb"] for found in audit.events()] == ["get", "list"]


def test_proxy_events_start_after_position(log: Path) -> None:
    log.write_text(event("get", PROXY), encoding="utf-8")
    since = audit.position()
    with log.open("a", encoding="utf-8") as stream:
        stream.write(event("patch", PROXY))
    assert verbs(since) == ["patch"]


def test_proxy_events_skip_incomplete_line(log: Path) -> None:
    log.write_text(event("get", PROXY) + event("update", PROXY)[:20], encoding="utf-8")
    assert verbs() == ["get"]


def test_settle_fails_if_log_keeps_growing(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = itertools.count()
    monkeypatch.setattr(audit, "position", lambda: next(sizes))

    with pytest.raises(ClusterError, match=r"the audit log still grows after 0.3 s"):
        audit.settle(timeout=0.3)
