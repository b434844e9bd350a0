# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client of Kubernetes objects: retries of failed requests."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    TRANSIENT_STATUS,
    ApiServerError,
    ConnectionLostError,
    FrontProxyError,
    UnreachableError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.retry import Retries
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.client import KubernetesClient
from kubernetes.client.exceptions import ApiException

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}}
KIND = SimpleNamespace(kind="Pod")
LOST = ConnectionLostError("interrupted")
UNREACHABLE = UnreachableError("cannot connect")


def response(status: int, **headers: str) -> Exception:
    """Return the official client's exception for an error response."""
    error: Exception = ApiException(status=status, reason="reason")
    error.headers = headers  # type: ignore[attr-defined]
    return error


def forbidden(message: str) -> Exception:
    """Return the official client's exception for a request that the API server forbids."""
    error: Exception = ApiException(status=403, reason="Forbidden")
    error.body = json.dumps({"kind": "Status", "message": message})  # type: ignore[attr-defined]
    return error


class Dynamic:
    """The official client, whose requests raise these exceptions before they succeed."""

    def __init__(self, errors: list[Exception]) -> None:
        self.errors = errors
        self.requests = 0

    def create(self, *_arguments: Any, **_options: Any) -> Any:
        """Fail, or return the object."""
        self.requests += 1
        if self.errors:
            raise self.errors.pop(0)
        return SimpleNamespace(to_dict=lambda: POD)

    get = server_side_apply = delete = create


@pytest.fixture
def dynamic(monkeypatch: pytest.MonkeyPatch) -> Dynamic:
    """The official client."""
    client = Dynamic([])
    monkeypatch.setattr("kubernetes.dynamic.DynamicClient", lambda *_arguments, **_options: client)
    return client


@pytest.fixture
def objects(dynamic: Dynamic) -> KubernetesClient:
    """The client of objects, which does not really wait."""
    cluster: Any = SimpleNamespace(adapter=SimpleNamespace(server_name="the API server"), api_client=lambda: None)
    return KubernetesClient(cluster, Retries(60, sleep=lambda _seconds: None))


@pytest.mark.parametrize(
    "error", [*map(response, TRANSIENT_STATUS), LOST, UNREACHABLE, FrontProxyError("busy", status=502)]
)
def test_apply_is_retried_after_transient_error(objects: KubernetesClient, dynamic: Dynamic, error: Exception) -> None:
    dynamic.errors = [error, error]

    assert objects.apply(KIND, POD, "default", dry_run=False, force=False) == POD
    assert dynamic.requests == 3


@pytest.mark.parametrize("error", [response(403), response(409), response(422)])
def test_apply_is_not_retried_after_permanent_error(
    objects: KubernetesClient, dynamic: Dynamic, error: Exception
) -> None:
    dynamic.errors = [error]

    with pytest.raises(ApiServerError, match="the API server rejected the request to apply"):
        objects.apply(KIND, POD, "default", dry_run=False, force=False)

    assert dynamic.requests == 1


def test_request_is_retried_if_api_server_forbids_it_after_it_was_allowed(
    objects: KubernetesClient, dynamic: Dynamic
) -> None:
    objects.create(KIND, POD, "default", dry_run=False)
    dynamic.errors = [forbidden('User "dev" cannot create resource "pods"')] * 2

    assert objects.create(KIND, POD, "default", dry_run=False) == POD


def test_forbidden_request_is_not_retried_if_another_request_was_allowed(
    objects: KubernetesClient, dynamic: Dynamic
) -> None:
    objects.create(KIND, POD, "default", dry_run=False)
    dynamic.errors = [forbidden('User "dev" cannot get resource "pods"')]

    with pytest.raises(ApiServerError, match="cannot get"):
        objects.get(KIND, "app", "default")


def test_create_is_not_retried_after_quota_is_exceeded(objects: KubernetesClient, dynamic: Dynamic) -> None:
    objects.create(KIND, POD, "default", dry_run=False)
    dynamic.errors = [forbidden("exceeded quota: pods")]

    with pytest.raises(ApiServerError, match="exceeded quota"):
        objects.create(KIND, POD, "default", dry_run=False)


def test_error_explains_rejected_credentials(objects: KubernetesClient, dynamic: Dynamic) -> None:
    dynamic.errors = [response(401)]

    with pytest.raises(ApiServerError, match="does not accept the credentials: 401 reason") as caught:
        objects.get(KIND, "app", "default")

    assert caught.value.advice == "Log in again or renew the token"


@pytest.mark.parametrize(
    "error",
    [
        *map(response, (421, 429, 500, 502, 503, 521)),
        LOST,
        UNREACHABLE,
        FrontProxyError("busy", status=502),
        FrontProxyError("busy", status=503),
    ],
)
def test_create_is_retried_after_transient_error(objects: KubernetesClient, dynamic: Dynamic, error: Exception) -> None:
    dynamic.errors = [error]

    assert objects.create(KIND, POD, "default", dry_run=False) == POD


@pytest.mark.parametrize("error", [response(500), response(502), LOST, FrontProxyError("busy", status=502)])
def test_create_returns_object_that_a_lost_request_created(
    objects: KubernetesClient, dynamic: Dynamic, error: Exception
) -> None:
    dynamic.errors = [error, response(409)]

    assert objects.create(KIND, POD, "default", dry_run=False) == POD


def test_create_returns_none_for_object_of_other_client(objects: KubernetesClient, dynamic: Dynamic) -> None:
    dynamic.errors = [response(409)]

    assert objects.create(KIND, POD, "default", dry_run=False) is None


def test_retry_waits_for_time_in_retry_after(dynamic: Dynamic) -> None:
    slept: list[float] = []
    cluster: Any = SimpleNamespace(adapter=SimpleNamespace(server_name="the API server"), api_client=lambda: None)
    dynamic.errors = [response(429, **{"Retry-After": "7"})]

    KubernetesClient(cluster, Retries(60, sleep=slept.append)).get(KIND, "app", None)

    assert slept == [7]
