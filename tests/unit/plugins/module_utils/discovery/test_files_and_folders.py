# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files and folders: manifests, charts and kustomizations in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery import files_and_folders
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.charts import ChartReader
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.collection import Discovery
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.custom_resources import ResourcePaths
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.files_and_folders import FileReader
from unit.plugins.module_utils.support.fake_programs import POD, arguments_of, write_program


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with programs in place of ``helm`` and ``kubectl``; each prints a Pod with an image of its name."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("helm", "kubectl"):
        write_program(folder / name, output=POD.replace("nginx", name))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for manifests."""
    path = tmp_path / "manifests"
    path.mkdir()
    return path


def read(programs: Path, src: Path | str) -> Discovery:
    """Return the images of an entry of the option src."""
    discovery, paths = Discovery(), ResourcePaths()
    charts = ChartReader(discovery, paths, str(programs / "helm"), 20)
    FileReader(discovery, paths, charts, str(programs / "kubectl"), 20).read(str(src))
    return discovery


def names(discovery: Discovery) -> list[str]:
    """Return the last components of the found images, if there is no problem."""
    assert discovery.problems == []
    return [image.name.path.removeprefix("library/") for image in discovery.found]


def write(path: Path, image: str = "nginx") -> None:
    """Write a manifest with an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(POD.replace("nginx", image))


def test_file_is_read(programs: Path, folder: Path) -> None:
    write(folder / "app.conf")

    assert names(read(programs, folder / "app.conf")) == ["nginx"]


def test_manifests_of_folder_and_subfolders_are_read(programs: Path, folder: Path) -> None:
    for name in ("a.yml", "b/b.yaml", "b/c/c.json", "other.txt", ".git/d.yml", "e.yml.bak"):
        write(folder / name, Path(name).stem.lower())

    assert names(read(programs, folder)) == ["a", "b", "c"]


def test_archive_in_folder_is_left_out_with_reason(programs: Path, folder: Path) -> None:
    write(folder / "a.yml")
    write(folder / "app.tgz")

    discovery = read(programs, folder)

    assert names(discovery) == ["nginx"]
    assert [(each.origin.file, each.reason) for each in discovery.skipped] == [
        (str(folder / "app.tgz"), "it is an archive; add a chart to charts")
    ]


def test_chart_and_kustomization_in_folder_are_rendered_and_built(programs: Path, folder: Path) -> None:
    write(folder / "app.yml")
    write(folder / "chart/templates/pod.yaml", "source")
    (folder / "chart/Chart.yaml").write_text("name: app\n")
    write(folder / "overlay/pod.yaml", "source")
    (folder / "overlay/kustomization.yaml").write_text("resources: [pod.yaml]\n")

    assert names(read(programs, folder)) == ["helm", "kubectl", "nginx"]
    assert arguments_of(str(programs / "helm"))[-1] == str(folder / "chart")
    assert arguments_of(str(programs / "kubectl")) == ["kustomize", "--", str(folder / "overlay")]


def test_kustomization_below_kustomization_is_built_without_its_sources(programs: Path, folder: Path) -> None:
    for part in ("app", "app/overlays/prod"):
        write(folder / part / "pod.yaml", "source")
        write(folder / part / "patches/pod.yaml", "source")
        (folder / part / "kustomization.yml").write_text("resources: [pod.yaml]\n")

    assert names(read(programs, folder)) == ["kubectl"]
    assert arguments_of(str(programs / "kubectl"))[-1] == str(folder / "app/overlays/prod")


@pytest.mark.parametrize("src", ["kustomize:{}", "{}/kustomization.yaml", "{}"])
def test_kustomization_is_built(programs: Path, folder: Path, src: str) -> None:
    (folder / "kustomization.yaml").write_text("resources: []\n")

    discovery = read(programs, src.format(folder))

    assert names(discovery) == ["kubectl"]
    ((origin,),) = [image.origins for image in discovery.found]
    assert origin.file == f"kustomize:{folder}"


def test_component_and_empty_kustomization_are_skipped(programs: Path, folder: Path) -> None:
    (folder / "kustomization.yaml").write_text("kind: Component\n")
    component = read(programs, folder)
    (folder / "kustomization.yaml").write_text("resources: []\n")
    write_program(programs / "kubectl", output="")
    empty = read(programs, folder)

    assert [each.reason for each in component.skipped] == [
        "it is a component, which is built as a part of kustomizations"
    ]
    assert [each.reason for each in empty.skipped] == ["the kustomization has no objects"]


def test_kustomization_that_fails_is_problem(programs: Path, folder: Path) -> None:
    write_program(programs / "kubectl", "echo error: accumulating resources >&2; exit 1")
    (folder / "kustomization.yaml").write_text("resources: [missing.yaml]\n")

    (problem,) = read(programs, folder).problems

    assert problem.message == (
        f"the kustomization {folder} cannot be built: kubectl failed: error: accumulating resources"
    )


def test_problem_of_one_file_leaves_images_of_others(programs: Path, folder: Path) -> None:
    write(folder / "a.yml")
    (folder / "b.yml").write_text("a: [")
    (folder / "c.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n00\n")

    discovery = read(programs, folder)

    assert [image.name.path for image in discovery.found] == ["library/nginx"]
    assert [str(problem).partition(" is ")[0] for problem in discovery.problems] == [
        str(folder / "b.yml"),
        str(folder / "c.yml"),
    ]


@pytest.mark.parametrize(
    ("src", "message"),
    [
        ("{}/missing.yml", "cannot be read: No such file or directory. The file is read on the host"),
        ("{}", "has no manifest. Files with manifests end in .yaml, .yml, .json"),
        ("kustomize:{}", "has no kustomization. The folder must have the file kustomization.yaml"),
        ("{}/app.tgz", "is not a manifest. Add a chart to charts"),
        ("oci://{}/app", "is not a manifest. Add a chart to charts"),
    ],
)
def test_unusable_entry_is_problem(programs: Path, folder: Path, src: str, message: str) -> None:
    (problem,) = read(programs, src.format(folder)).problems

    assert message in str(problem)


def test_number_of_files_is_bounded(programs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_and_folders, "_MOST_FILES", 2)
    for name in "abc":
        write(folder / f"{name}.yml")

    (problem,) = read(programs, folder).problems

    assert "has more than 2 files" in problem.message


def test_link_to_folder_is_not_followed(programs: Path, folder: Path) -> None:
    write(folder / "a.yml")
    (folder / "loop").symlink_to(folder)

    discovery = read(programs, folder)

    assert names(discovery) == ["nginx"]
    assert [str(each.origin) for each in discovery.skipped] == [f" in {folder / 'loop'}"]
