# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How programs are found, and kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import catalogue, gobuild, layout, programs, releases
from cluster.catalogue import Program
from cluster.errors import ClusterError

TOOL = Program("tool", "1.37.2", "example.org/tool", "example.org/tool", ask=("--version",))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a PATH with nothing but sh, and no network."""
    monkeypatch.setattr(layout, "PROGRAMS", tmp_path / "programs")
    monkeypatch.setattr(layout, "BIN", tmp_path / "programs/bin")
    monkeypatch.setattr(layout, "BUILD_TIMES", tmp_path / "times.json")
    monkeypatch.setattr(programs, "PROGRAMS", {"tool": TOOL})
    monkeypatch.setattr(releases, "download_into_cache", lambda *_: None)
    monkeypatch.delenv(programs.NAMED_FOLDER, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return tmp_path


def put(folder: Path, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tool"
    path.write_text(f"#!/bin/sh\necho {says}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("says", ["v1.37.2", "tool 1.37.2 linux", "1.37.2+build"])
def test_a_program_of_the_named_folder_is_taken_if_its_version_fits(
    cache: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    path = put(cache / "named", says)
    monkeypatch.setenv(programs.NAMED_FOLDER, str(cache / "named"))
    assert programs.ensure(["tool"]) == {"tool": path}
    assert (layout.BIN / "tool").resolve() == path


@pytest.mark.parametrize("says", ["v1.37.21", "v11.37.2", "v1.37.2-rc.1", "v1.37.1"])
def test_another_version_is_not_taken(cache: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    put(cache / "named", says)
    monkeypatch.setenv(programs.NAMED_FOLDER, str(cache / "named"))
    with pytest.raises(ClusterError, match=r"missing: tool 1\.37\.2"):
        programs.ensure(["tool"])


def test_what_is_at_hand_waits_for_nobodys_build(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(programs.cached(TOOL).parent, "v1.37.2")
    first = programs.ensure(["tool"])
    monkeypatch.setattr(programs, "_lock", lambda: pytest.fail("it waits"))

    assert programs.ensure(["tool"]) == first == {"tool": programs.cached(TOOL)}


def test_what_was_built_once_is_not_built_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def build(program: Program, scratch: Path) -> Path:
        built.append(program.name)
        return put(scratch, "v1.37.2")

    monkeypatch.setattr(gobuild, "build", build)
    put(cache / "path", "go").rename(cache / "path/go")
    first = programs.ensure(["tool"])
    assert programs.ensure(["tool"]) == first
    assert built == ["tool"]


def test_a_build_that_fails_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(_program: Program, scratch: Path) -> Path:
        put(scratch, "half")
        raise ClusterError("no")

    monkeypatch.setattr(gobuild, "build", build)
    put(cache / "path", "go").rename(cache / "path/go")
    with pytest.raises(ClusterError, match="no"):
        programs.ensure(["tool"])
    assert [entry.name for entry in layout.PROGRAMS.iterdir()] == [".lock"]


def test_an_unknown_program_is_an_error_that_names_the_known(cache: Path) -> None:
    with pytest.raises(ClusterError, match=r"no such program: nope .there are tool"):
        programs.ensure(["nope"])


def test_every_program_has_a_name_of_its_own() -> None:
    assert len(catalogue.PROGRAMS) == len(catalogue.NEEDED) + len(catalogue.ON_DEMAND)
