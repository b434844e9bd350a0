# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client of the registry's garbage collector, with an API server that passes on requests to a registry."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Union

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ApiServerError, InputError, RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import (
    PodSettings,
    RegistrySettings,
    connect_registry,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.collector import Collection, Collector
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.settings import ClusterSettings
from unit.plugins.module_utils.transport.servers import Request, Server, response_bytes

CONFIG_MAP = "/api/v1/namespaces/k8scr/configmaps/k8scr-collect?fieldManager=k8scr-prune"
VERSION = "/api/v1/namespaces/k8scr/pods/k8scr-0:5000/proxy/v2/"
UNREACHABLE = (503, "error trying to reach service: dial tcp 10.0.0.1:5000: connect: connection refused")
State = Union[str, None, tuple[int, str]]
"""The header of the registry; None without it, or an error of the API server with its code."""


def failure(code: int, message: str) -> bytes:
    """Return an error response of the API server."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return response_bytes(code, {"Content-Type": "application/json"}, json.dumps(status).encode())


class CollectingRegistry:
    """An API server, and a registry whose header follows from the requests in the ConfigMap.

    Attributes:
        states: Returns the header of each request for it, from the IDs of the requested collections.
        requested: These IDs.
        denied: The response to a request for a collection; None to accept it.
    """

    def __init__(self, server: Server) -> None:
        self.states: Iterator[Callable[[list[str]], State]] = iter(())
        self.requested: list[str] = []
        self.denied: bytes | None = None
        self._last: Callable[[list[str]], State] = lambda _requested: "ready"
        server.reply(self._respond)

    def report(self, *states: Callable[[list[str]], State]) -> None:
        """Set the states; the last one remains."""
        self.states = iter(states)

    def _respond(self, request: Request) -> bytes:
        if (request.method, request.target) == ("PATCH", CONFIG_MAP):
            assert request.headers["Content-Type"] == "application/merge-patch+json"
            if self.denied:
                return self.denied
            self.requested.append(json.loads(request.body)["data"]["request"])
            return response_bytes(200, {"Content-Type": "application/json"}, b"{}")
        if request.target != VERSION:
            return failure(404, "not found")
        self._last = next(self.states, self._last)
        state = self._last(self.requested)
        if isinstance(state, tuple):
            return failure(*state)
        return response_bytes(200, {"K8scr-Collection": state} if state is not None else {}, b"{}")


@pytest.fixture
def server() -> Iterator[Server]:
    """An API server without TLS."""
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def collecting(server: Server) -> CollectingRegistry:
    """A registry that collects garbage on request."""
    return CollectingRegistry(server)


@contextmanager
def collector_of(server: Server, retry_timeout: int = 1) -> Iterator[Collector]:
    """Connect to the registry and do not wait between requests."""
    settings = ClusterSettings(host=server.url, api_key="token")
    pod = PodSettings()
    with connect_registry(RegistrySettings(settings, pod, retry_timeout=retry_timeout), writes=True) as registry:
        registry.retries.sleep = lambda _seconds: time.sleep(0.001)
        yield Collector(registry, pod)


def always(state: State) -> Callable[[list[str]], State]:
    return lambda _requested: state


def finished(text: str, number: int = -1) -> Callable[[list[str]], State]:
    """Return a function for the header of a finished request, by default of the last one."""
    return lambda requested: f"id={requested[number]} {text}"


RUNNING = always("running")
DONE = finished("status=done seconds=12 before=300 after=100")


def test_collector_returns_result_of_its_request(server: Server, collecting: CollectingRegistry) -> None:
    collecting.report(always("id=0 status=done seconds=1"), always("id=0 status=done seconds=1"), RUNNING, DONE)

    with collector_of(server) as collector:
        assert collector.collect(60) == Collection(12, 300, 100)

    (request,) = collecting.requested
    assert len(request) == 32


@pytest.mark.parametrize(
    ("text", "collection"),
    [
        ("status=done seconds=3", Collection(3, None, None)),
        ("status=done", Collection(0, None, None)),
        ("status=done seconds=-1 before=x after=" + "9" * 30, Collection(0, None, None)),
    ],
)
def test_collector_accepts_missing_and_invalid_numbers(
    server: Server, collecting: CollectingRegistry, text: str, collection: Collection
) -> None:
    collecting.report(always("ready"), finished(text))

    with collector_of(server) as collector:
        assert collector.collect(60) == collection


def test_collector_waits_while_container_restarts(server: Server, collecting: CollectingRegistry) -> None:
    collecting.report(always("ready"), *[RUNNING, always(UNREACHABLE)] * 20, DONE)

    with collector_of(server, retry_timeout=0) as collector:
        assert collector.collect(60).after == 100


@pytest.mark.parametrize("other", ["id=0f status=done seconds=1", "id=0f status=skipped"])
def test_collector_requests_again_if_other_request_was_carried_out(
    server: Server, collecting: CollectingRegistry, other: str
) -> None:
    collecting.report(always("ready"), RUNNING, always(other), always(other), RUNNING, DONE)

    with collector_of(server) as collector:
        collector.collect(60)

    assert len(collecting.requested) == 2


def test_collector_requests_again_if_pod_was_replaced(server: Server, collecting: CollectingRegistry) -> None:
    skipped = finished("status=skipped", 0)
    collecting.report(always("ready"), skipped, skipped, RUNNING, DONE)

    with collector_of(server) as collector:
        collector.collect(60)

    assert len(set(collecting.requested)) == 2


def test_collector_reports_failure(server: Server, collecting: CollectingRegistry) -> None:
    collecting.report(always("ready"), finished("status=failed seconds=2 error=no manifest sha256:ab id=0 status=done"))

    with collector_of(server) as collector, pytest.raises(RegistryError) as raised:
        collector.collect(60)

    assert "reports: no manifest sha256:ab id=0 status=done" in raised.value.message
    assert "container registry" in str(raised.value)


@pytest.mark.parametrize(
    ("state", "message", "advice"),
    [
        (always("ready"), "did not begin the garbage collection within 0.05 s", "up to 90 seconds"),
        (RUNNING, "did not finish the garbage collection within 0.05 s", "continues in the registry"),
        (lambda requested: f"id={len(requested)}f status=done", "did not begin", "up to 90 seconds"),
        (always(None), "did not begin", "up to 90 seconds"),
    ],
)
def test_collector_stops_at_timeout(
    server: Server, collecting: CollectingRegistry, state: Callable[[list[str]], State], message: str, advice: str
) -> None:
    collecting.report(always("ready"), state)

    with collector_of(server) as collector, pytest.raises(RegistryError) as raised:
        collector.collect(0.05)

    assert message in raised.value.message
    assert advice in str(raised.value)
    assert "collect_timeout" in str(raised.value)


@pytest.mark.parametrize(
    ("code", "advice"),
    [(403, "Allow patch on the ConfigMap k8scr-collect in namespace k8scr"), (404, "with registry_delete: true")],
)
def test_collector_names_reason_if_api_server_rejects_request(
    server: Server, collecting: CollectingRegistry, code: int, advice: str
) -> None:
    collecting.denied = failure(code, "the reason")

    with collector_of(server) as collector, pytest.raises(ApiServerError) as raised:
        collector.collect(60)

    assert "the reason" in raised.value.message
    assert advice in str(raised.value)


@pytest.mark.parametrize(
    ("state", "advice"),
    [(None, "registry_delete: true"), ("", "registry_delete: true"), ("reader", "write port, 5000 by default")],
)
def test_registry_without_collector_is_rejected_with_advice(
    server: Server, collecting: CollectingRegistry, state: str | None, advice: str
) -> None:
    collecting.report(always(state))

    with collector_of(server) as collector, pytest.raises(InputError) as raised:
        collector.require()

    assert advice in str(raised.value)


@pytest.mark.parametrize("state", ["ready", "running", "id=0f status=failed error=x"])
def test_registry_with_collector_is_accepted(server: Server, collecting: CollectingRegistry, state: str) -> None:
    collecting.report(always(state))

    with collector_of(server) as collector:
        collector.require()

    assert collecting.requested == []
