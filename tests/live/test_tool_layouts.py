# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layouts with artifacts of oras and build caches, and folders of skopeo sync.

``test_signatures.py`` has layouts of cosign.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from cluster import layout, programs
from cluster.media_types import INDEX
from images.layout import Layout

from .conftest import Task
from .host_registries import HostRegistry
from .image_tasks import push, push_entry
from .upstream_registries import upstream_registry

pytestmark = pytest.mark.concurrent

CRANE = str(layout.BIN / "crane")


def run(*command: object) -> bytes:
    """Run a tool and return its output."""
    return subprocess.run([*map(str, command)], check=True, capture_output=True).stdout


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[HostRegistry]:
    """A registry on this machine with the image ``app:1``."""
    with upstream_registry("distribution-3", tmp_path / "upstream") as running:
        run(CRANE, "push", "--insecure", images.ensure("busybox").layout, f"{running.address}/app:1")
        yield running


def test_push_of_layout_of_oras_copies_attached_artifact(
    task: Task, repository: str, address: str, upstream: HostRegistry, tmp_path: Path
) -> None:
    oras = programs.ensure(["oras"])["oras"]
    (tmp_path / "sbom.json").write_text("{}")
    attach = [oras, "attach", "--plain-http", "--disable-path-validation", "--artifact-type=application/vnd.example"]
    run(*attach, f"{upstream.address}/app:1", tmp_path / "sbom.json")
    copy = [oras, "copy", "--recursive", "--from-plain-http", f"{upstream.address}/app:1", "--to-oci-layout"]
    run(*copy, f"{tmp_path}/layout:1")
    entry = push_entry(f"oci:{tmp_path}/layout", repository)

    alone = task("k8scr_push", images=[{**entry, "referrers": False}])
    result = task("k8scr_push", images=[{**entry, "referrers": True}])

    assert [image["digest"] for image in alone["images"]] == [images.ensure("busybox").digest], alone.get("msg")
    assert result["changed"], result.get("msg")
    discover = [oras, "discover", "--plain-http", "--format=json"]
    assert b"application/vnd.example" in run(*discover, f"{address}/{repository}:1")


def test_folder_of_skopeo_sync_is_pushed_after_conversion(
    task: Task, repository: str, upstream: HostRegistry, tmp_path: Path
) -> None:
    sync = ["skopeo", "sync", "--src=docker", "--dest=dir", "--src-tls-verify=false"]
    run(*sync, f"{upstream.address}/app:1", tmp_path / "synced")

    rejected = push(task, f"oci:{tmp_path}/synced", repository)
    advice = re.search(r"Convert it: (skopeo copy .*) oci:LAYOUT:NAME", rejected["msg"])
    assert advice, rejected["msg"]
    run(*advice[1].split(), f"oci:{tmp_path}/layout:app")

    pushed = push(task, f"oci:{tmp_path}/layout:app", repository)
    assert pushed["images"][0]["digest"] == images.ensure("busybox").digest, pushed.get("msg")


def test_push_explains_that_registry_rejects_build_cache_of_buildkit(
    task: Task, repository: str, tmp_path: Path
) -> None:
    cache = Layout(tmp_path / "cache")
    cache.create()
    parts = [
        cache.stream([b"result"], "application/vnd.oci.image.layer.v1.tar+gzip"),
        cache.document({"layers": [], "records": []}, "application/vnd.buildkit.cacheconfig.v0"),
    ]
    cache.tag(cache.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}, INDEX), "latest")

    result = push(task, f"oci:{cache.folder}:latest", repository)

    assert "export the cache with image-manifest=true" in result["msg"]
