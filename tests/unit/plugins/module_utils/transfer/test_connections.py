# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option ``connections``: concurrent requests to each registry in all phases of a task."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from unit.plugins.module_utils.support.images import Image, layer, make_image, make_index, write_layout
from unit.plugins.module_utils.support.registry_server import RegistryServer

Task = Callable[..., dict[str, Any]]
CONNECTIONS = 2


@dataclass
class Watch:
    """Counts the concurrent requests to a registry. Responses wait for other requests, so that they overlap.

    Attributes:
        peaks: The largest number of concurrent requests for manifests, for others, and in total.
    """

    peaks: dict[str, int] = field(default_factory=dict)
    _now: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, path: str, _headers: Mapping[str, str]) -> None:
        kind = "manifests" if "/manifests/" in path else "other"
        with self._changed:
            self._now.append(kind)
            for name, count in ((kind, self._now.count(kind)), ("all", len(self._now))):
                self.peaks[name] = max(self.peaks.get(name, 0), count)
            self._changed.notify_all()
            # Some requests have no others beside them, for example that of the last manifest.
            self._changed.wait_for(lambda: self.peaks[kind] >= CONNECTIONS, timeout=0.1)
        # More requests than allowed would arrive now.
        time.sleep(0.01)
        with self._changed:
            self._now.remove(kind)


EXPECTED = {"manifests": CONNECTIONS, "other": CONNECTIONS, "all": CONNECTIONS}


@pytest.fixture
def watch(server: RegistryServer) -> Watch:
    """The watch of the cluster's registry."""
    server.guard = found = Watch()
    return found


@pytest.fixture
def images() -> dict[str, Image]:
    """Several images for two platforms, by name."""
    return {
        f"team/app-{number}": make_index(
            {
                f"linux/{architecture}": make_image(layer("app", f"{architecture} {number}".encode()))
                for architecture in ("amd64", "arm64")
            }
        )
        for number in range(5)
    }


@pytest.fixture
def layout(images: dict[str, Image], tmp_path: Path) -> str:
    """The images in a layout."""
    write_layout(tmp_path / "layout", {f"docker.io/{name}:1": image for name, image in images.items()})
    return f"oci:{tmp_path / 'layout'}"


def fill(registry: RegistryServer, images: Mapping[str, Image]) -> None:
    """Store images in a registry, each with a signature of cosign."""
    for name, image in images.items():
        registry.fill(name, "1", image)
        registry.fill(name, f"{image.digest.replace(':', '-')}.sig", make_image(layer("signature", name.encode())))


def test_push_sends_requests_on_all_connections_and_not_more(push: Task, watch: Watch, layout: str) -> None:
    result = push(layout, connections=CONNECTIONS)

    assert not result.get("failed"), result.get("msg")
    assert watch.peaks == EXPECTED


def test_push_of_existing_images_sends_requests_on_all_connections_and_not_more(
    push: Task, watch: Watch, layout: str
) -> None:
    push(layout)
    watch.peaks.clear()

    push(layout, connections=CONNECTIONS)

    assert watch.peaks == {"manifests": CONNECTIONS, "all": CONNECTIONS}


@pytest.mark.parametrize("options", [{}, {"platforms": ["linux/arm64"]}, {"referrers": True}])
def test_pull_sends_requests_on_all_connections_and_not_more(
    pull: Task, server: RegistryServer, watch: Watch, images: dict[str, Image], tmp_path: Path, options: dict[str, Any]
) -> None:
    fill(server, images)

    result = pull(
        *({"name": f"docker.io/{name}:1", "dest": f"oci:{tmp_path / 'pulled'}", **options} for name in images),
        connections=CONNECTIONS,
    )

    assert not result.get("failed"), result.get("msg")
    assert watch.peaks == EXPECTED


@pytest.mark.parametrize("options", [{}, {"platforms": ["linux/arm64"]}, {"referrers": True}])
def test_push_from_upstream_sends_requests_on_all_connections_to_each_registry_and_not_more(
    push: Task, upstream: RegistryServer, watch: Watch, images: dict[str, Image], options: dict[str, Any]
) -> None:
    fill(upstream, images)
    upstream.guard = of_upstream = Watch()
    host = upstream.url.partition("//")[2]

    result = push(
        *({"source": f"docker://{host}/{name}:1", **options} for name in images),
        connections=CONNECTIONS,
        upstreams=[{"host": host, "plain_http": True}],
    )

    assert not result.get("failed"), result.get("msg")
    assert (watch.peaks, of_upstream.peaks) == (EXPECTED, EXPECTED)


def test_push_stores_manifests_before_the_blobs_of_later_images(
    push: Task, server: RegistryServer, layout: str
) -> None:
    server.guard = lambda _path, _headers: time.sleep(0.01)

    push(layout, connections=1)

    stored = [str(request).split()[1] for request in server.requests if request.method == "PUT"]
    first_manifest = next(number for number, path in enumerate(stored) if "/manifests/" in path)
    assert "app-3" not in "".join(stored[:first_manifest])
