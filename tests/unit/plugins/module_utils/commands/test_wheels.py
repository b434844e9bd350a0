# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option ``extras.wheels`` of ``k8scr_bundle``, with the real pip and a folder in place of a package index."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import wheels
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.bundle_extras import BundleExtras
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.bundle_format import BundleFile
from unit.plugins.module_utils.support.processes import has_ended
from unit.plugins.module_utils.support.wheels import write_wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip's configuration names in place of a package index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def collect(tmp_path: Path, existing: Iterable[BundleFile] = (), **options: Any) -> dict[BundleFile, Path | None]:
    """Return the files of an option ``extras.wheels``, for a bundle that may have some of them already."""
    folder = tmp_path / f"downloads-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    chosen = {"requirements": ["app"], "python": ["3.11"], "platforms": None, **options}
    extras = BundleExtras.from_options({"extras": {"wheels": chosen}})
    return extras.collect(folder, list(existing))


def names(extras: Iterable[BundleFile]) -> list[str]:
    """Return the names of the files, all of which are in the folder of wheels."""
    assert {extra.path.rpartition("/")[0] for extra in extras} == {"extras/wheels"}
    return [extra.path.rpartition("/")[2] for extra in extras]


def test_wheels_include_dependencies_and_request(tmp_path: Path, index: Path) -> None:
    write_wheel(index, "app", "1.0", "py3-none-any", "Requires-Dist: library>=2")
    write_wheel(index, "library", "2.1")

    extras = collect(tmp_path)

    assert names(extras) == ["app-1.0-py3-none-any.whl", "library-2.1-py3-none-any.whl", "requirements.txt"]
    request = list(extras.values())[2]
    assert request is not None
    assert request.read_text() == "# Wheels for Python 3.11 on manylinux2014_x86_64\napp\n"


def test_wheels_are_for_each_version_and_platform(tmp_path: Path, index: Path) -> None:
    tags = ("cp39-cp39-manylinux_2_17_x86_64", "cp39-cp39-musllinux_1_1_x86_64", "cp312-abi3-manylinux1_x86_64")
    for tag in (*tags, "cp312-cp312-musllinux_1_2_x86_64", "cp313-cp313-manylinux_2_17_x86_64"):
        write_wheel(index, "app", "1.0", tag)

    extras = collect(tmp_path, python=["3.12", "3.9"], platforms=["manylinux_2_28_x86_64", "musllinux_1_2_x86_64"])

    found = {name.removeprefix("app-1.0-").removesuffix(".whl") for name in names(extras)}
    assert found == {*tags, "cp312-cp312-musllinux_1_2_x86_64", "requirements.txt"}


def test_wheels_have_dependencies_of_other_version_and_platform(tmp_path: Path, index: Path) -> None:
    markers = {"old": "python_version < '3.10'", "windows": "sys_platform == 'win32'", "new": "python_version > '3.10'"}
    write_wheel(
        *(index, "app", "1.0", "py3-none-any"),
        *(f"Requires-Dist: {name}; {marker}" for name, marker in markers.items()),
    )
    for name in markers:
        write_wheel(index, name)

    extras = collect(tmp_path, python=["3.9"], platforms=["win_amd64"])

    assert [name.partition("-")[0] for name in names(extras)] == ["app", "old", "requirements.txt", "windows"]


def test_wheels_of_existing_bundle_are_not_downloaded_again(tmp_path: Path, index: Path) -> None:
    write_wheel(index, "app")
    before = collect(tmp_path, requirements=["app", "app>=1"], python=["3.11", "3.12"])
    write_wheel(index, "app", "2.0")

    again = collect(tmp_path, before, requirements=["app>=1", "app"], python=["3.12", "3.11"])

    assert list(again) == list(before)
    assert set(again.values()) == {None}


def test_wheels_are_downloaded_for_other_request(tmp_path: Path, index: Path) -> None:
    write_wheel(index, "app")
    before = collect(tmp_path)
    write_wheel(index, "app", "2.0")

    again = collect(tmp_path, before, requirements=["app>=2"])

    assert names(again) == ["app-2.0-py3-none-any.whl", "requirements.txt"]


def test_wheels_name_invalid_requirement_without_temporary_file(tmp_path: Path, index: Path) -> None:
    with pytest.raises(SourceError, match=r"Invalid requirement: 'no such thing'") as caught:
        collect(tmp_path, requirements=["no such thing"])

    assert str(tmp_path) not in str(caught.value)


def test_wheels_name_package_without_wheel_for_version(tmp_path: Path, index: Path) -> None:
    write_wheel(index, "app", "1.0", "cp312-cp312-manylinux2014_x86_64")

    with pytest.raises(SourceError) as caught:
        collect(tmp_path, python=["3.12", "3.13"])

    assert "the wheels for Python 3.13 on manylinux2014_x86_64 cannot be downloaded:" in str(caught.value)
    assert "No matching distribution found for app" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert "change requirements, python or platforms" in str(caught.value)


def test_wheels_need_index_whose_credentials_are_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://somebody:canary@127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")

    with pytest.raises(SourceError) as caught:
        collect(tmp_path)

    assert "pip cannot connect to its package index" in str(caught.value)
    assert "HTTPS_PROXY" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert "canary" not in "".join(path.read_text() for path in tmp_path.glob("downloads-*/*"))


@pytest.mark.parametrize(
    ("script", "run", "reason"),
    [
        ("sleep 100 & echo $! > ../child; wait", {"timeout": 1}, r"pip did not finish within 1 s\. Check"),
        ("echo $$ > ../child; exec cat /dev/zero", {"limit": 1 << 20}, r"pip printed more than 1 MiB\. Check"),
        ("echo $$ > ../child; kill -9 $$", {}, r"pip was ended by signal 9\. Check"),
    ],
)
def test_wheels_end_pip_that_exceeds_limit_with_its_children(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch, script: str, run: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr(wheels, "_PROGRAM", f"import os; os.execv('/bin/sh', ['sh', '-c', {script!r}])")
    monkeypatch.setattr(wheels, "_RUN", replace(wheels._RUN, **run))

    with pytest.raises(SourceError, match=rf"on manylinux2014_x86_64 cannot be downloaded: {reason}"):
        collect(tmp_path)

    assert has_ended(tmp_path / "child")


def test_wheels_need_pip(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_PROGRAM", f"import sys; sys.modules['pip'] = None\n{wheels._PROGRAM}")

    with pytest.raises(SourceError, match=rf"{sys.executable} has no pip\. Install it .* python3-pip\."):
        collect(tmp_path)


@pytest.mark.parametrize(
    "requirement",
    [
        "app @ https://somebody:canary@example.com/app.whl",
        "https://somebody:canary@example.com/app.whl",
        "--index-url=https://somebody:canary@example.com",
        "./canary.whl",
        "-r canary.txt",
        "app; python_version > '3' @ https://canary",
        "app --hash=sha256:canary",
        "app --index-url=canary",
        "app -r canary",
        "app; python_version > '3' --canary",
        "app; python_version > '${CANARY}'",
    ],
)
def test_wheels_reject_requirement_with_url_path_or_option(tmp_path: Path, requirement: str) -> None:
    with pytest.raises(InputError) as caught:
        collect(tmp_path, requirements=[requirement])
    assert "is not the name of a package with versions" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_wheels_accept_requirement_with_extra_versions_and_marker(tmp_path: Path, index: Path) -> None:
    write_wheel(index, "app", "1.5", "py3-none-any", "Provides-Extra: more")
    requirement = "app [more] >=1.0, !=1.4.*,<2 ; python_version >= '3.6' and sys_platform != 'win32'"
    assert names(collect(tmp_path, requirements=[requirement])) == ["app-1.5-py3-none-any.whl", "requirements.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"python": ["3.1x"]},
            r"python has the entry '3\.1x', .* in quotes because YAML reads 3\.10 as the number 3\.1",
        ),
        ({"python": ["2.7"]}, "is not a version of Python 3"),
        ({"python": ["3.1"]}, r"'3\.1', which is not a version of Python 3 from 3\.6\. Write it like .* in quotes"),
        ({"python": []}, "python is empty"),
        ({"platforms": ["linux/amd64"]}, "'linux/amd64', which is not the platform of a wheel"),
    ],
)
def test_wheels_reject_invalid_version_or_platform(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        collect(tmp_path, **options)


@pytest.mark.parametrize(
    ("platform", "machine", "system"),
    [
        ("manylinux2014_aarch64", "aarch64", "linux"),
        ("manylinux_2_28_x86_64", "x86_64", "linux"),
        ("musllinux_1_2_armv7l", "armv7l", "linux"),
        ("macosx_11_0_arm64", "arm64", "darwin"),
        ("win_amd64", "AMD64", "win32"),
    ],
)
def test_marker_environment_is_of_platform(platform: str, machine: str, system: str) -> None:
    environment = wheels.marker_environment("3.10", platform)

    assert (environment["platform_machine"], environment["sys_platform"]) == (machine, system)
    assert (environment["python_version"], environment["python_full_version"]) == ("3.10", "3.10.0")
