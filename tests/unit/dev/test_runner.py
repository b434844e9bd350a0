# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stages in the background, which run at the same time as others."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster.errors import log
from dev import collection, runner, venv
from dev.commands import Failed
from dev.stages import Context

SECONDS = 10


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """The functions of the stages by name, which tests replace."""
    monkeypatch.setattr(venv, "ensure", lambda: tmp_path)
    monkeypatch.setattr(collection, "copy", lambda root=collection.SOURCE_ROOT: root / "copy")
    monkeypatch.setattr(runner, "RESULTS", tmp_path / "results")
    replaced: dict[str, object] = {}
    monkeypatch.setattr(runner, "STAGES", replaced)
    return replaced


def test_stage_in_background_runs_during_stage_on_cluster_with_own_copy(stages: dict[str, object]) -> None:
    met = threading.Barrier(2)
    copies: dict[str, Path] = {}

    def meet(name: str, context: Context) -> None:
        copies[name] = context.copy
        met.wait(SECONDS)

    stages["unit"] = lambda context: meet("unit", context)
    stages["integration"] = lambda context: meet("integration", context)

    assert runner.run_stages(["unit", "integration"], fail_on_skips=False)
    assert copies["unit"] != copies["integration"]


def test_stages_start_after_those_that_must_end_before(stages: dict[str, object]) -> None:
    order: list[str] = []

    def stage(name: str) -> Callable[[Context], None]:
        def run(_context: Context) -> None:
            time.sleep(0.05)
            order.append(name)

        return run

    stages |= {name: stage(name) for name in ("unit", "live-concurrent", "chaos", "live-others")}

    assert runner.run_stages(["live-others", "live-concurrent", "unit", "chaos"], fail_on_skips=False)
    assert order.index("chaos") < order.index("live-concurrent")
    assert set(order[:3]) == {"unit", "live-concurrent", "chaos"}


def test_interrupted_run_starts_no_further_stage(stages: dict[str, object]) -> None:
    started, interrupted = threading.Event(), threading.Event()
    order: list[str] = []

    def unit(_context: Context) -> None:
        started.set()
        interrupted.wait(SECONDS)

    def chaos(_context: Context) -> None:
        started.wait(SECONDS)
        threading.Timer(0.2, interrupted.set).start()
        raise KeyboardInterrupt

    stages |= {"unit": unit, "chaos": chaos, "live-concurrent": lambda _context: order.append("live-concurrent")}

    with pytest.raises(KeyboardInterrupt):
        runner.run_stages(["unit", "live-concurrent", "chaos"], fail_on_skips=False)
    assert order == []


def test_output_of_stage_in_background_is_printed_as_a_whole_with_failures(
    stages: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = threading.Event(), threading.Event()

    def unit(context: Context) -> None:
        context.write("first line")
        first.set()
        second.wait(SECONDS)
        context.write("second line")
        context.skipped.append("unit waits: no network")
        raise Failed("one test failed")

    def integration(context: Context) -> None:
        first.wait(SECONDS)
        context.write("a task")
        second.set()

    stages["unit"], stages["integration"] = unit, integration

    assert not runner.run_stages(["unit", "integration"], fail_on_skips=True)
    output = capsys.readouterr().err
    assert "first line\nsecond line\n==== end of unit" in output
    assert "a task" in output
    assert "==== unit failed:\none test failed" in output
    assert "FAILED: unit, no skips" in output


def test_lines_are_written_at_once_so_that_no_other_thread_writes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    class Output(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stderr", Output())

    log("first\nlast")

    assert written == ["first\nlast\n"]
