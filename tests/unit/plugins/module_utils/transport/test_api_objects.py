# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Single objects that the transport reads from the API server, and the modules that wait for it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import wait
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.carry import run_carry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ApiServerError,
    ClusterError,
    K8scrError,
    UnreadableResponseError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.progress import SILENT, Progress
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport import cluster as transport_cluster
from unit.plugins.module_utils.support.clock import Clock
from unit.plugins.module_utils.support.shown_texts import ShownTexts
from unit.plugins.module_utils.transport.servers import Request, Server, response_bytes

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Connect

PATH = "/apis/apps/v1/namespaces/k8scr/statefulsets/k8scr"
NAME = "the StatefulSet k8scr in namespace k8scr"
POD = {"namespace": "k8scr", "registry": "k8scr-0", "registry_port": 5000, "registry_scheme": "http"}
FOUND = response_bytes(200, {"Content-Type": "application/json"}, b'{"metadata": {"uid": "0-1"}}')


def status(code: int, message: str, **headers: str) -> bytes:
    """Return an error response of the API server."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return response_bytes(code, {"Content-Type": "application/json", **headers}, json.dumps(body).encode())


REFUSED = status(503, "error trying to reach service: dial tcp 10.0.0.7:5000: connect: connection refused")


@pytest.mark.parametrize(
    ("response", "value"),
    [
        (FOUND, {"metadata": {"uid": "0-1"}}),
        (status(404, "not found"), None),
        (response_bytes(200, {}, b"not JSON"), {}),
        (response_bytes(200, {}, b"[]"), {}),
    ],
    ids=["found", "missing", "no JSON", "no object"],
)
def test_object_is_read(
    cluster_of: Connect, options: dict[str, Any], api_server: Server, response: bytes, value: Any
) -> None:
    api_server.reply(response)

    assert cluster_of(options).adapter.read_object(PATH, NAME) == value


@pytest.mark.parametrize(
    ("code", "transient", "text"),
    [
        (401, False, "does not accept the credentials: not now. Log in again"),
        (403, False, f"does not return {NAME}: not now. Allow get on {NAME}"),
        (429, True, f"does not return {NAME}: not now"),
        (500, True, f"does not return {NAME}: not now"),
    ],
)
def test_error_response_for_object_is_explained(
    cluster_of: Connect, options: dict[str, Any], api_server: Server, code: int, transient: bool, text: str
) -> None:
    api_server.reply(status(code, "not now", **{"Retry-After": "7"}))

    with pytest.raises(ApiServerError) as caught:
        cluster_of(options).adapter.read_object(PATH, NAME)

    assert text in str(caught.value)
    assert caught.value.transient is transient
    assert caught.value.retry is None or caught.value.retry.after == 7


def test_object_that_is_too_large_is_an_error(cluster_of: Connect, options: dict[str, Any], api_server: Server) -> None:
    api_server.reply(response_bytes(200, {}, bytes(5 << 20)))

    with pytest.raises(UnreadableResponseError, match="exceeds 4194304 bytes"):
        cluster_of(options).adapter.read_object(PATH, NAME)


def test_response_to_official_client_is_limited(
    cluster_of: Connect, options: dict[str, Any], api_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_cluster, "_MAXIMUM_LIST", 1000)
    api_server.reply(response_bytes(200, {}, bytes(1000)), response_bytes(200, {}, bytes(1001)))
    cluster = cluster_of(options)
    connections, url = cluster.api_client().rest_client.pool_manager, f"{cluster.adapter.base_url}/api"

    assert len(connections.request("GET", url).data) == 1000
    with pytest.raises(UnreadableResponseError, match="exceeds 1000 bytes"):
        connections.request("GET", url)


def test_official_client_gets_short_error_response(
    cluster_of: Connect, options: dict[str, Any], api_server: Server
) -> None:
    api_server.reply(response_bytes(500, {"Content-Encoding": "gzip"}, bytes(64 << 20)))
    cluster = cluster_of(options)

    response = cluster.api_client().rest_client.pool_manager.request("GET", f"{cluster.adapter.base_url}/api")

    assert (response.status, response.data) == (500, b"")


@pytest.fixture
def carry_options(options: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of k8scr_carry, with an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return {**options, **POD, "state": "restored"}


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("failure", [b"", status(503, "starting")], ids=["closed", "503"])
def test_carry_reads_stateful_set_again_after_transient_failure(
    carry_options: dict[str, Any], api_server: Server, failure: bytes
) -> None:
    api_server.closes_after_response = True
    api_server.reply(failure, FOUND)

    assert run_carry(carry_options, check_mode=False)["path"].endswith("/0-1")


def test_carry_explains_rejected_credentials(carry_options: dict[str, Any], api_server: Server) -> None:
    api_server.reply(status(401, "Unauthorized"))

    with pytest.raises(ApiServerError, match="Log in again or renew the token"):
        run_carry(carry_options, check_mode=False)


@pytest.mark.parametrize("uid", [None, 1, "../.."])
def test_carry_rejects_invalid_uid(carry_options: dict[str, Any], api_server: Server, uid: Any) -> None:
    api_server.reply(response_bytes(200, {}, json.dumps({"metadata": {"uid": uid}}).encode()))

    with pytest.raises(ApiServerError, match="without a valid UID"):
        run_carry(carry_options, check_mode=False)


def run_wait(options: dict[str, Any], seconds: int, shown: Progress = SILENT) -> dict[str, Any]:
    """Wait for the registry as k8scr_wait does."""
    return wait.run_wait({**options, **POD, "wait_timeout": seconds}, False, shown)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    "failure", [b"", REFUSED, response_bytes(500, {}, b"starting"), status(404, 'pods "k8scr-0" not found')],
    ids=["closed", "refused", "500", "missing"],
)  # fmt: skip
def test_wait_outlasts_failures_that_transfers_would_not(
    options: dict[str, Any], api_server: Server, failure: bytes
) -> None:
    failures = 4
    responses = iter([failure] * failures)
    api_server.closes_after_response = True
    api_server.reply(
        lambda request: next(responses, response_bytes(200, {}, b"{}")) if "/proxy" in request.target else FOUND
    )

    assert not run_wait(options, 60)["changed"]
    assert len([request for request in api_server.requests if "/proxy" in request.target]) == failures + 1


@pytest.mark.usefixtures("clock")
def test_wait_shows_registry_and_last_error(
    options: dict[str, Any], api_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = ShownTexts(monkeypatch)
    what = r"the registry in Pod k8scr/k8scr-0"
    status = rf"waiting for {what} since 12:00:00 \(\d s\)"
    expected = iter([status, rf"{status}: .*refused.*"])
    responses = iter([REFUSED, response_bytes(200, {}, b"{}")])

    def respond(request: Request) -> bytes:
        if "/proxy" not in request.target:
            return FOUND
        shown.wait_for_last(next(expected))
        return next(responses)

    api_server.reply(respond)

    run_wait(options, 60, shown.progress)

    assert not [*expected]
    assert re.fullmatch(rf"{what} responds \([0-9.]+ s\)", shown.texts[-1])


def test_wait_fails_at_timeout_with_last_error(options: dict[str, Any], api_server: Server, clock: Clock) -> None:
    def respond(request: Request) -> bytes:
        return REFUSED if "/proxy" in request.target else status(403, "no permission")

    api_server.reply(respond)
    begin = clock.monotonic()

    with pytest.raises(ClusterError, match=r"not become available through the API server within 1 s.*refused"):
        run_wait(options, 1)

    assert 1 <= clock.monotonic() - begin < 3


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("failure", "text", "requests"),
    [
        (status(401, "Unauthorized"), "does not accept the credentials", 1),
        (status(403, "forbidden"), "the API server forbids access to Pod k8scr-0", 1),
        (status(404, 'pods "k8scr-0" not found'), "there is no Pod k8scr-0", 8),
    ],
    ids=["credentials", "permission", "Pod"],
)
def test_wait_reports_failure_that_waiting_does_not_resolve(
    options: dict[str, Any],
    api_server: Server,
    failure: bytes,
    text: str,
    requests: int,
) -> None:
    api_server.reply(failure)

    with pytest.raises(K8scrError, match=text):
        run_wait(options, 60)

    assert len([request for request in api_server.requests if "/proxy" in request.target]) == requests


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("stateful_set", "waits"),
    [
        ({"replicas": 1}, True),
        ({"replicas": 1, "ordinals": {"start": 0}}, True),
        ({"replicas": 0}, False),
        ({"replicas": 1, "ordinals": {"start": 1}}, False),
        (None, False),
    ],
)
def test_wait_for_missing_pod_continues_if_stateful_set_creates_it(
    options: dict[str, Any],
    api_server: Server,
    stateful_set: dict[str, Any] | None,
    waits: bool,
) -> None:
    missing = iter([status(404, 'pods "k8scr-0" not found')] * 20)

    def respond(request: Request) -> bytes:
        if "/statefulsets/k8scr" in request.target and stateful_set:
            return response_bytes(200, {}, json.dumps({"spec": stateful_set}).encode())
        return next(missing, response_bytes(200, {}, b"{}")) if "/proxy" in request.target else status(404, "missing")

    api_server.reply(respond)

    if waits:
        assert run_wait(options, 60)["elapsed"] < 60
    else:
        with pytest.raises(K8scrError, match="there is no Pod k8scr-0 in namespace k8scr"):
            run_wait(options, 60)
