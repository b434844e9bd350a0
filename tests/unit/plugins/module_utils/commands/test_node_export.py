# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_node_export``: platforms, the sandbox image, and the names of archives."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import node_export
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.node_export import (
    NODE_EXPORT_ARGUMENT_SPEC,
    archive_name,
    run_node_export,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.image_export import FoundImage, State
from unit.plugins.module_utils.support.settings import module_options

PAUSE = "version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = 'registry.k8s.io/pause:3.10'\n"


@pytest.fixture(autouse=True)
def exported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of exported archives. The node has the platform linux/arm64 and no image but example.com/a:1."""
    paths: list[str] = []
    states = {"example.com/a:1": State.COMPLETE}
    monkeypatch.setattr(node_export, "host_platform", lambda: "linux/arm64")
    monkeypatch.setattr(
        node_export,
        "find_images",
        lambda _containerd, names: [FoundImage(name, "", states.get(name, State.MISSING)) for name in names],
    )
    monkeypatch.setattr(node_export, "export_image", lambda _containerd, _image, archive: paths.append(str(archive)))
    monkeypatch.setattr(node_export, "effective_config", lambda *_arguments: PAUSE)
    return paths


def run(*images: dict[str, Any], check_mode: bool = True, **options: Any) -> dict[str, Any]:
    """Run the module."""
    parameters = module_options(NODE_EXPORT_ARGUMENT_SPEC, images=list(images), **options)
    return run_node_export(Mock(params=parameters, check_mode=check_mode))


def test_node_export_skips_images_for_other_platforms() -> None:
    images: list[dict[str, Any]] = [
        {"name": "example.com/a:1", "platforms": ["linux/amd64", "linux/arm64"]},
        {"name": "example.com/b:1", "platforms": ["linux/amd64"]},
        {"name": "example.com/c:1"},
    ]

    found = run(*images)["images"]

    assert [entry["image"]["name"] for entry in found] == ["example.com/a:1", "example.com/c:1"]


def test_node_export_names_workloads_of_missing_image() -> None:
    image = {"name": "example.com/b:1", "workloads": ["DaemonSet kube-system/b", "DaemonSet kube-system/c"]}

    (found,) = run(image)["images"]

    assert found["reason"] == (
        "containerd does not have example.com/b:1 for linux/arm64, "
        "used by DaemonSet kube-system/b and DaemonSet kube-system/c"
    )


def test_node_export_writes_archives_to_folder(exported: list[str]) -> None:
    result = run({"name": "example.com/a:1"}, check_mode=False, folder="/archives")

    assert exported == [f"/archives/{result['images'][0]['image']['file']}"]
    assert result["changed"]


def test_node_export_writes_nothing_in_check_mode(exported: list[str]) -> None:
    assert run({"name": "example.com/a:1"}, folder="/archives")["changed"]
    assert exported == []


def test_node_export_requires_folder_for_images() -> None:
    with pytest.raises(InputError, match="folder is not set"):
        run({"name": "example.com/a:1"}, check_mode=False)


def test_node_export_returns_sandbox_image_as_entry_of_images() -> None:
    assert run()["sandbox"] == {"name": "registry.k8s.io/pause:3.10", "platforms": ["linux/arm64"]}


def test_node_export_rejects_configuration_without_sandbox_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_export, "effective_config", lambda *_arguments: "version = 3\n")

    with pytest.raises(SourceError, match="containerd's configuration names no sandbox image"):
        run()


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("example.com/team/proxy:1.2", "-proxy.tar"),
        (f"example.com:5000/proxy@sha256:{'1' * 64}", "-proxy.tar"),
        ("docker.io/library/a__b:1", "-a__b.tar"),
    ],
)
def test_archive_name_ends_with_repository(name: str, end: str) -> None:
    assert archive_name(name, "linux/amd64")[12:] == end


def test_archive_name_differs_for_names_and_platforms() -> None:
    names = {archive_name(f"example.com/a:{tag}", f"linux/{each}") for tag in "12" for each in ("amd64", "arm64")}
    assert len(names) == 4
