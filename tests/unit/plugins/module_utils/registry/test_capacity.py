# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The capacity of a registry's storage, from the volumes of its Pod."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ApiServerError, UnreachableError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.capacity import (
    Capacity,
    capacity,
    parse_quantity,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import PodSettings

POD_PATH = "/api/v1/namespaces/k8scr/pods/k8scr-0"
CLAIM_PATH = "/api/v1/namespaces/k8scr/persistentvolumeclaims/images"
CLAIM = {"persistentVolumeClaim": {"claimName": "images"}}
FORBIDDEN = ApiServerError("forbidden", status=403)


def pod_with(volume: dict[str, Any], mount_path: str = "/var/lib/registry") -> dict[str, Any]:
    """Return a Pod that stores images in a volume."""
    container = {"name": "registry", "volumeMounts": [{"name": "storage", "mountPath": mount_path}]}
    volumes = [{"name": "config", "configMap": {"name": "k8scr"}}, {"name": "storage", **volume}]
    return {"spec": {"containers": [container], "volumes": volumes}}


def capacity_with(**objects: Any) -> Capacity:
    """Return the capacity if the API server returns, or raises, a Pod and a claim."""

    def read(path: str, _name: str) -> Any:
        found = {POD_PATH: objects.get("pod"), CLAIM_PATH: objects.get("claim")}[path]
        if isinstance(found, Exception):
            raise found
        return found

    return capacity(Mock(read_object=read), PodSettings(), Retries(0.0))


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({"emptyDir": {"sizeLimit": "20Gi"}}, Capacity(20 << 30, "emptyDir")),
        ({"emptyDir": {}}, Capacity(None, "emptyDir")),
        ({"emptyDir": {"sizeLimit": "0"}}, Capacity(None, "emptyDir")),
        ({"emptyDir": {"medium": "Memory", "sizeLimit": "500M"}}, Capacity(500_000_000, "memory")),
        ({"hostPath": {"path": "/srv/images"}}, Capacity(None, "hostPath")),
        ({"nfs": {"server": "nfs.example.com"}}, Capacity(None, "unknown")),
    ],
)
def test_capacity_is_that_of_volume(volume: dict[str, Any], expected: Capacity) -> None:
    assert capacity_with(pod=pod_with(volume)) == expected


def test_capacity_is_that_of_bound_claim() -> None:
    claim = {"spec": {"resources": {"requests": {"storage": "5Gi"}}}, "status": {"capacity": {"storage": "8Gi"}}}
    assert capacity_with(pod=pod_with(CLAIM), claim=claim) == Capacity(8 << 30, "persistentVolumeClaim")


@pytest.mark.parametrize("claim", [None, FORBIDDEN, {}, {"status": {"capacity": []}}])
def test_capacity_is_unknown_without_bound_claim(claim: Any) -> None:
    assert capacity_with(pod=pod_with(CLAIM), claim=claim) == Capacity(None, "persistentVolumeClaim")


@pytest.mark.parametrize(
    "pod", [None, FORBIDDEN, {}, {"spec": {"containers": "x"}}, pod_with({"emptyDir": {"sizeLimit": "1Gi"}}, "/data")]
)
def test_capacity_is_unknown_without_volume_for_images(pod: Any) -> None:
    assert capacity_with(pod=pod) == Capacity(None, "unknown")


@pytest.mark.parametrize("error", [UnreachableError("no network"), ApiServerError("down", status=500)])
def test_capacity_raises_error_of_unavailable_api_server(error: Exception) -> None:
    with pytest.raises(type(error)):
        capacity_with(pod=error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20Gi", 20 << 30),
        ("1.5Ki", 1536),
        ("500M", 500_000_000),
        ("1e9", 10**9),
        ("12E", 12 * 10**18),
        ("2Ei", 2 << 60),
        ("128974848000m", 128974848),
        (1024, 1024),
        (".5k", 500),
        ("5.", 5),
        ("", None),
        ("-1", None),
        ("1Zi", None),
        ("1 Gi", None),
        ("9" * 5000, None),
        ("1e999999999", None),
        ("٣Gi", None),
        (True, None),
        (None, None),
        (1.5, None),
    ],
)
def test_quantity_is_parsed_as_kubernetes_does(text: object, expected: int | None) -> None:
    assert parse_quantity(text) == expected
