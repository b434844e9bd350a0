# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages name the peer that is the cause: the API server, a proxy in front of it, the registry, or its storage."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
import requests
from ansible_collections.k8scr.core.plugins.module_utils.pod_proxy import connect
from cluster import layout

from .conftest import Task
from .host_registries import IMPLEMENTATIONS, NAMESPACE, HostRegistry, host_registry, pod_at
from .image_tasks import pull, push
from .s3 import ACCESS_KEY, BUCKET, SECRET_KEY, s3

POD = "peers"


@pytest.fixture(params=IMPLEMENTATIONS)
def registry_of_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HostRegistry]:
    """An empty registry of each implementation."""
    with host_registry(request.param, tmp_path / "registry", POD) as registry:
        yield registry


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_api_server_marks_responses_of_each_registry(registry_of_kind: HostRegistry, method: str) -> None:
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    registry = f"{pods}/{POD}:{registry_of_kind.port}/proxy/v2"
    paths = [f"{registry}/", f"{registry}/none/manifests/1", f"{registry}/none/blobs/uploads/", f"{registry}x", "/none"]
    paths += [f"{pods}/{POD}:1/proxy/", f"{pods}/none:5000/proxy/v2/", f"{pods}/none"]
    with connect({"kubeconfig": str(layout.KUBECONFIG)}) as cluster, requests.Session() as session:
        session.mount(cluster.adapter.base_url, cluster.adapter)
        responses = [session.request(method, cluster.adapter.base_url + path) for path in paths]

    assert [response.url for response in responses if "Audit-Id" not in response.headers] == []


@pytest.mark.parametrize("module", ["push", "pull", "wait"])
def test_message_names_both_peers_if_registry_is_unresponsive(
    task: Task, host: HostRegistry, tmp_path: Path, module: str
) -> None:
    os.kill(host.pid, signal.SIGSTOP)
    limits: dict[str, Any] = {"timeout": 2, "retry_timeout": 2}
    try:
        if module == "push":
            result = push(task, images.ensure("busybox"), "team/app", **limits, **host.options)
        elif module == "pull":
            result = pull(task, "team/app", f"oci:{tmp_path}/layout", **limits, **host.options)
        else:
            result = task("k8scr_wait", wait_timeout=3, **host.options)
    finally:
        os.kill(host.pid, signal.SIGCONT)

    peers = f"the API server 127.0.0.1:{layout.API_PORT} or the registry in Pod {NAMESPACE}/{host.pod} behind it"
    assert f"{peers} timed out during a request" in result["msg"]
    assert f"Check the registry in Pod {NAMESPACE}/{host.pod}" in result["msg"]


def test_pull_explains_redirect_to_storage(task: Task, tmp_path: Path) -> None:
    (tmp_path / "s3").mkdir()
    with s3(tmp_path / "s3") as storage:
        variables = {
            "REGISTRY_STORAGE": "s3",
            "REGISTRY_STORAGE_S3_REGION": "us-east-1",
            "REGISTRY_STORAGE_S3_REGIONENDPOINT": storage["registry_s3_endpoint"],
            "REGISTRY_STORAGE_S3_FORCEPATHSTYLE": "true",
            "REGISTRY_STORAGE_S3_BUCKET": BUCKET,
            "REGISTRY_STORAGE_S3_ACCESSKEY": ACCESS_KEY,
            "REGISTRY_STORAGE_S3_SECRETKEY": SECRET_KEY,
        }
        registry = HostRegistry("distribution-3", tmp_path / "registry", POD, variables=variables)
        registry.start()
        try:
            with pod_at(layout.HOST_ADDRESS, POD):
                pushed = push(task, images.ensure("busybox"), "team/app", **registry.options)
                result = pull(task, "team/app", f"oci:{tmp_path}/layout", **registry.options)
        finally:
            registry.stop(signal.SIGKILL)

    assert pushed["changed"], pushed.get("msg")
    assert f"redirects downloads to its storage at {layout.HOST_ADDRESS}, outside of the Pod" in result["msg"]
    assert "Set storage.redirect.disable: true" in result["msg"]
    assert "X-Amz" not in result["msg"]
