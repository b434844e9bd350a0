# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Selected tags of upstream registries, which list them in pages."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
import requests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.tags import find_tags
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry import listing

from .conftest import Task
from .host_registries import HostRegistry
from .upstream_registries import upstream_registry

pytestmark = pytest.mark.concurrent

VERSIONS = [f"v1.{minor}.{patch}" for minor in range(15) for patch in range(10)]
_RULES = {"semver": ">=1.2 <1.12", "exclude": r"\.[5-9]$", "newest": 3}
_SELECTED = ["v1.11.4", "v1.11.3", "v1.11.2"]


@pytest.fixture(scope="module", params=["distribution-3", "distribution-2.8", "go-containerregistry"])
def upstream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRegistry]:
    """A registry whose repository ``team/api`` has 153 tags, which were set in a random order."""
    with upstream_registry(str(request.param), tmp_path_factory.mktemp("upstream")) as registry:
        original = images.ensure("busybox")
        target = f"docker://{registry.address}/team/api:latest"
        command = ["skopeo", "copy", "--all", "--quiet", "--dest-tls-verify=false", f"oci:{original.layout}", target]
        subprocess.run(command, check=True)
        url = f"http://{registry.address}/v2/team/api/manifests"
        manifest = requests.get(
            f"{url}/latest", headers={"Accept": "application/vnd.oci.image.manifest.v1+json"}, timeout=30
        )
        tags = [*VERSIONS, "v1.11.0-rc.1", "main"]
        random.Random(1).shuffle(tags)
        for tag in tags:
            headers = {"Content-Type": manifest.headers["Content-Type"]}
            requests.put(f"{url}/{tag}", manifest.content, headers=headers, timeout=30).raise_for_status()
        yield registry


def upstreams(registry: HostRegistry) -> list[dict[str, Any]]:
    """Return the option for a registry that does not use TLS."""
    return [{"host": registry.address, "plain_http": True}]


@pytest.mark.parametrize("page", [7, 40, 1000])
def test_lookup_selects_tags_of_all_pages(upstream: HostRegistry, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(listing, "_PAGE", page)

    found = find_tags([f"{upstream.address}/team/api"], {"upstreams": upstreams(upstream), **_RULES})
    every = find_tags([f"{upstream.address}/team/api"], {"upstreams": upstreams(upstream), "at_most": 1000})

    assert found == _SELECTED
    assert set(every) == {*VERSIONS, "v1.11.0-rc.1", "main", "latest"}


def test_push_selects_tags_and_locks_them(task: Task, upstream: HostRegistry, repository: str, tmp_path: Path) -> None:
    entry = {
        "source": f"docker://{upstream.address}/team/api",
        "name": f"registry.example.com/{repository}",
        "tags": _RULES,
    }
    lock = tmp_path / "images.lock.json"
    options = {"images": [entry], "upstreams": upstreams(upstream), "lock": str(lock)}

    result = task("k8scr_push", **options)
    again = task("k8scr_push", **options, locked=True)

    assert [image["tag"] for image in result["images"]] == _SELECTED, result.get("msg")
    assert result["selections"][0]["tags"] == _SELECTED
    assert not again["changed"]
    assert [image["digest"] for image in again["images"]] == [image["digest"] for image in result["images"]]
    assert list(json.loads(lock.read_text())) == [
        f"registry.example.com/{repository}:{tag}" for tag in sorted(_SELECTED)
    ]
