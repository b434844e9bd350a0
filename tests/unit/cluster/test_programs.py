# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for programs, and their cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import catalogue, gobuild, layout, programs, releases
from cluster.catalogue import Program
from cluster.errors import ClusterError

TOOL = Program("tool", "1.37.2", "example.org/tool", "example.org/tool", version_arguments=("--version",))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a PATH with nothing but sh, and no network."""
    monkeypatch.setattr(layout, "PROGRAMS", tmp_path / "programs")
    monkeypatch.setattr(layout, "BIN", tmp_path / "programs/bin")
    monkeypatch.setattr(layout, "BUILD_TIMES", tmp_path / "times.json")
    monkeypatch.setattr(programs, "PROGRAMS", {"tool": TOOL})
    monkeypatch.setattr(releases, "download_into_cache", lambda *_: None)
    monkeypatch.delenv(programs.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return tmp_path


def write_tool(folder: Path, version: str) -> Path:
    """Write a program that prints a version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tool"
    path.write_text(f"#!/bin/sh\necho {version}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("version", ["v1.37.2", "tool 1.37.2 linux", "1.37.2+build"])
def test_ensure_uses_program_of_configured_folder_with_matching_version(
    cache: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    path = write_tool(cache / "named", version)
    monkeypatch.setenv(programs.FOLDER_VARIABLE, str(cache / "named"))
    assert programs.ensure(["tool"]) == {"tool": path}
    assert (layout.BIN / "tool").resolve() == path


@pytest.mark.parametrize("version", ["v1.37.21", "v11.37.2", "v1.37.2-rc.1", "v1.37.1"])
def test_ensure_rejects_program_with_other_version(cache: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    write_tool(cache / "named", version)
    monkeypatch.setenv(programs.FOLDER_VARIABLE, str(cache / "named"))
    with pytest.raises(ClusterError, match=r"missing programs: tool 1\.37\.2"):
        programs.ensure(["tool"])


def test_ensure_returns_cached_program_without_lock(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tool(programs.cached(TOOL).parent, "v1.37.2")
    first = programs.ensure(["tool"])
    monkeypatch.setattr(programs, "_lock", lambda: pytest.fail("ensure waits for the lock"))

    assert programs.ensure(["tool"]) == first == {"tool": programs.cached(TOOL)}


def test_ensure_builds_program_only_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def build(program: Program, scratch: Path) -> Path:
        built.append(program.name)
        return write_tool(scratch, "v1.37.2")

    monkeypatch.setattr(gobuild, "build", build)
    write_tool(cache / "path", "go").rename(cache / "path/go")
    first = programs.ensure(["tool"])
    assert programs.ensure(["tool"]) == first
    assert built == ["tool"]


def test_ensure_deletes_files_of_failed_build(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(_program: Program, scratch: Path) -> Path:
        write_tool(scratch, "half")
        raise ClusterError("no")

    monkeypatch.setattr(gobuild, "build", build)
    write_tool(cache / "path", "go").rename(cache / "path/go")
    with pytest.raises(ClusterError, match="no"):
        programs.ensure(["tool"])
    assert [entry.name for entry in layout.PROGRAMS.iterdir()] == [".lock"]


def test_ensure_lists_programs_for_unknown_name(cache: Path) -> None:
    with pytest.raises(ClusterError, match=r"unknown program: nope; the programs are tool"):
        programs.ensure(["nope"])


def test_catalogue_has_unique_names() -> None:
    assert len(catalogue.PROGRAMS) == len(catalogue.NEEDED) + len(catalogue.ON_DEMAND)
