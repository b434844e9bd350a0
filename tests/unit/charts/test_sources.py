# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The charts of the catalogue, and their downloads from repositories."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from charts import catalogue, sources


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> catalogue.Repository:
    """A repository in a mirror, with two commits; the first one has a chart."""
    monkeypatch.setenv(sources.MIRROR_VARIABLE, str(tmp_path / "mirror"))
    monkeypatch.setattr(sources, "_CACHE", tmp_path / "cache")
    folder = tmp_path / "mirror/team/charts"
    (folder / "app").mkdir(parents=True)
    git(folder, "init", "--quiet")
    for number in (1, 2):
        (folder / "app/Chart.yaml").write_text(f"version: {number}\n")
        git(folder, "add", ".")
        git(folder, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=change")
    return catalogue.Repository("team/charts", git(folder, "rev-parse", "HEAD~1"))


def git(folder: Path, *arguments: str) -> str:
    """Run git and return its output."""
    return subprocess.run(["git", *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.mark.parametrize(("path", "file"), [("app", "Chart.yaml"), (".", "app/Chart.yaml")])
def test_chart_of_commit_is_downloaded_once(
    repository: catalogue.Repository, tmp_path: Path, path: str, file: str
) -> None:
    wanted = catalogue.Input("app", repository, path)

    found = sources.path_of(wanted)
    shutil.rmtree(tmp_path / "mirror")

    assert (found / file).read_text() == "version: 1\n"
    assert sources.path_of(wanted) == found


def test_failed_download_leaves_no_files(repository: catalogue.Repository, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        sources.path_of(catalogue.Input("app", catalogue.Repository("team/charts", "0" * 40), "app"))

    assert list((tmp_path / "cache").iterdir()) == []


def test_names_of_inputs_are_unique() -> None:
    names = Counter(each.name for each in (*catalogue.FEW, *catalogue.MANY))

    assert [name for name, count in names.items() if count > 1] == []
    assert len(catalogue.MANY) >= 40
