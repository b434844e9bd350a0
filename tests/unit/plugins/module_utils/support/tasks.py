# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks of k8scr_push and k8scr_pull, in the process of the test or in one with a limit of open files."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image import change_image
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.pull import pull_images
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.push import push_images
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.session import open_session
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import ClusterRegistry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upstreams import Upstreams
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.delivered_images import DeliveredImages
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.listener import Listener, RetryLog
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.api_server import Access, ApiServerAdapter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.connection import Endpoint
from unit.plugins.module_utils.support.settings import image_settings, pull_settings, push_settings


@contextmanager
def connected(url: str) -> Iterator[ClusterRegistry]:
    """Open a client of a registry with the connections of the transport to an API server."""
    adapter = ApiServerAdapter(lambda: Access(Endpoint(url), lambda: None))
    with open_session(url, adapter) as session:
        yield ClusterRegistry(
            adapter,
            session,
            url,
            description="the registry",
            timeouts=(10.0, 10.0),
            retries=Retries(8.0, sleep=lambda _seconds: None),
        )


def push_to(
    registry: Registry,
    cache: Path,
    *images: Any,
    check_mode: bool = False,
    delivered: DeliveredImages | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Push images as k8scr_push does, with the list of the registry's images. Return the result."""
    settings = push_settings(*images, **options)
    connections = settings.registry.connections
    log = RetryLog()
    upstreams = Upstreams(
        settings.sources.upstreams, connections, timeout=10.0, retry_timeout=8.0, on_retry=log.retried
    )
    with closing(upstreams):
        result = push_images(settings, check_mode, registry, cache, upstreams, log, None, delivered)
    return {**result, "retries": log.entries}


def pull_from(registry: Registry, *images: Any, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    """Pull images as k8scr_pull does. Return the result."""
    return pull_images(pull_settings(*images, **options), check_mode, registry, Listener())


def change_in(
    registry: Registry,
    name: str,
    check_mode: bool = False,
    delivered: DeliveredImages | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Copy or delete an image as k8scr_image does. Return the result; ``source`` is the option ``from``."""
    settings = image_settings(name, **{key.replace("source", "from"): value for key, value in options.items()})
    return change_image(settings, check_mode, registry, Listener(), delivered)


def run_with_few_files(limit: int, kind: str, url: str, cache: Path, images: list[Any]) -> dict[str, Any]:
    """Push or pull images in a process that may have ``limit`` open files. Return the result."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(limit), kind, url, str(cache)],
        input=json.dumps(images),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


def _main(limit: str, kind: str, url: str, cache: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))
    images = json.load(sys.stdin)
    with connected(url) as registry:
        result = push_to(registry, Path(cache), *images) if kind == "push" else pull_from(registry, *images)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    _main(*sys.argv[1:])
