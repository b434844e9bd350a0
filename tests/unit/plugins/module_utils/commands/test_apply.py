# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""k8scr_apply against a small API server: results, restarts of the API server, and waiting."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import apply_wait
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.apply import APPLY_ARGUMENT_SPEC, run_apply
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_options import CLUSTER_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.progress import SILENT, Progress
from unit.plugins.module_utils.support.clock import Clock
from unit.plugins.module_utils.support.object_server import Fault, ObjectServer, failure
from unit.plugins.module_utils.support.settings import module_options
from unit.plugins.module_utils.support.shown_texts import ShownTexts
from unit.plugins.module_utils.transport.servers import response_bytes

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
SETTINGS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"colour": "red"}}
PATH = f"{CONFIG_MAPS}/settings"
DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app"}, "spec": {"replicas": 1}}
APPS = "/apis/apps/v1/namespaces/default/deployments/app"
READY = {"updatedReplicas": 1, "availableReplicas": 1, "replicas": 1}
LOST = b""
pytestmark = pytest.mark.usefixtures("clock")
Apply = Callable[..., dict[str, Any]]


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    """An empty API server."""
    running = ObjectServer()
    yield running
    running.stop()


@pytest.fixture
def run(server: ObjectServer) -> Apply:
    """Runs k8scr_apply with options."""

    def run(check_mode: bool = False, progress: Progress = SILENT, **options: Any) -> dict[str, Any]:
        spec = {**CLUSTER_ARGUMENT_SPEC, **APPLY_ARGUMENT_SPEC}
        return run_apply(module_options(spec, host=server.url, api_key="token", **options), check_mode, progress)

    return run


def actions(result: dict[str, Any]) -> list[str]:
    return [entry["action"] for entry in result["objects"]]


def test_apply_creates_updates_and_keeps_objects(run: Apply, server: ObjectServer) -> None:
    changed = {**SETTINGS, "data": {"colour": "blue"}}

    results = [run(definition=definition) for definition in (SETTINGS, SETTINGS, changed)]

    assert [actions(result) for result in results] == [["created"], ["unchanged"], ["updated"]]
    assert [result["changed"] for result in results] == [True, False, True]
    assert server.objects[PATH]["data"] == {"colour": "blue"}


def test_check_mode_reports_action_without_change(run: Apply, server: ObjectServer) -> None:
    result = run(check_mode=True, definition=SETTINGS)

    assert actions(result) == ["created"]
    assert server.objects == {}


def test_absent_deletes_in_reverse_order(run: Apply, server: ObjectServer) -> None:
    run(definition=[SETTINGS, DEPLOYMENT], wait=False)

    result = run(definition=[SETTINGS, DEPLOYMENT], state="absent")

    assert [entry["kind"] for entry in result["objects"]] == ["Deployment", "ConfigMap"]
    assert actions(result) == ["deleted", "deleted"]
    assert server.objects == {}


def test_result_of_failure_has_objects_before_it(run: Apply, server: ObjectServer) -> None:
    server.faults = [Fault("PATCH", "/second", failure(422, "invalid"), times=9)]
    second = {**SETTINGS, "metadata": {"name": "second"}}

    result = run(definition=[SETTINGS, second])

    assert (result["failed"], result["changed"], actions(result)) == (True, True, ["created"])
    assert "the API server rejected the request to apply ConfigMap default/second: invalid" in result["msg"]


def test_error_names_document_of_file(run: Apply, server: ObjectServer, tmp_path: Path) -> None:
    server.faults = [Fault("PATCH", "/second", failure(422, "invalid"))]
    path = tmp_path / "objects.yaml"
    path.write_text("\n---\n".join(f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}" for name in (
        "first", "second")))  # fmt: skip

    result = run(src=str(path))

    assert result["msg"].startswith("the API server rejected the request to apply ConfigMap default/second: invalid (")
    assert f"(document 2 of {path} (line 3))" in result["msg"]


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("lost", [LOST, failure(503), failure(429), failure(500)], ids=["lost", "503", "429", "500"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/version"), ("GET", "/apis"), ("GET", "/api/v1"), ("GET", PATH), ("PATCH", PATH)],
    ids=["version", "groups", "kinds", "read", "apply"],
)
def test_apply_survives_failures_of_restarting_api_server(
    run: Apply, server: ObjectServer, method: str, path: str, lost: bytes, check_mode: bool
) -> None:
    server.faults = [Fault(method, path, lost, times=2)]

    result = run(check_mode=check_mode, definition=SETTINGS)

    assert not result.get("failed"), result.get("msg")
    assert actions(result) == ["created"]
    assert not server.faults[0].times


@pytest.mark.parametrize("lost", [LOST, failure(503)], ids=["lost", "503"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1"), ("GET", PATH), ("DELETE", PATH)], ids=["kinds", "read", "delete"]
)
@pytest.mark.parametrize("carried_out", [False, True])
def test_absent_survives_failures_of_restarting_api_server(
    run: Apply, server: ObjectServer, method: str, path: str, lost: bytes, carried_out: bool
) -> None:
    run(definition=SETTINGS)
    server.faults = [Fault(method, path, lost, carried_out, times=2)]

    result = run(definition=SETTINGS, state="absent")

    assert not result.get("failed"), result.get("msg")
    assert actions(result) == ["deleted"]
    assert server.objects == {}


@pytest.mark.parametrize("carried_out", [False, True])
def test_keep_existing_reports_creation_whose_response_was_lost(
    run: Apply, server: ObjectServer, carried_out: bool
) -> None:
    server.faults = [Fault("POST", CONFIG_MAPS, LOST, carried_out)]

    result = run(definition=SETTINGS, keep_existing=True)

    assert actions(result) == ["created"]
    assert server.objects[PATH]["data"] == {"colour": "red"}
    assert result["objects"][0]["object"]["data"] == {"colour": "red"}


def test_keep_existing_keeps_object_that_other_client_creates_first(run: Apply, server: ObjectServer) -> None:
    server.objects[PATH] = {**SETTINGS, "data": {"colour": "green"}}
    server.faults = [Fault("GET", PATH, failure(404))]

    result = run(definition=SETTINGS, keep_existing=True)

    assert actions(result) == ["unchanged"]
    assert result["objects"][0]["object"]["data"] == {"colour": "green"}


def test_conflict_is_not_retried(run: Apply, server: ObjectServer) -> None:
    server.faults = [Fault("PATCH", PATH, failure(409, "conflict"), times=9)]

    result = run(definition=SETTINGS)

    assert "conflict" in result["msg"]
    assert len(server.requests_for("PATCH", PATH)) == 1


def test_unavailable_api_is_not_reported_as_missing_kind(run: Apply, server: ObjectServer) -> None:
    server.objects[APPS] = dict(DEPLOYMENT)
    server.faults = [Fault("GET", "/apis/apps/v1", failure(503), times=2)]

    result = run(definition=DEPLOYMENT, state="absent", wait=False)

    assert actions(result) == ["deleted"]


@pytest.mark.parametrize("body", [b"<html>Log in</html>", b"[]", b"{}"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1"), ("GET", PATH), ("PATCH", PATH)], ids=["kinds", "read", "apply"]
)
def test_error_explains_response_of_proxy_in_place_of_object(
    run: Apply, server: ObjectServer, method: str, path: str, body: bytes
) -> None:
    server.faults = [Fault(method, path, response_bytes(200, {"Connection": "close"}, body), times=9)]

    result = run(definition=SETTINGS)

    assert "is not a Kubernetes object" in result["msg"]
    assert not result["changed"]


def test_error_explains_response_of_proxy_in_place_of_discovery(run: Apply, server: ObjectServer) -> None:
    server.faults = [Fault("GET", "/apis", response_bytes(200, {"Connection": "close"}, b"<html>Log in</html>"))]

    with pytest.raises(ClusterError, match="discover the API is not a Kubernetes object"):
        run(definition=SETTINGS)


@pytest.mark.parametrize("definition", [{**SETTINGS, "kind": "Nonsense"}, {**SETTINGS, "apiVersion": "example.com/v1"}])
def test_error_names_kind_that_is_not_served(run: Apply, definition: dict[str, Any]) -> None:
    result = run(definition=definition)

    assert f"does not serve the kind {definition['kind']} of {definition['apiVersion']}" in result["msg"]


def test_error_advises_quotes_for_value_that_is_not_text(run: Apply, server: ObjectServer) -> None:
    reason = (
        "failed to create typed patch object: .data.time: expected string, got &value.valueUnstructured{Value:1350}"
    )
    server.faults = [Fault("PATCH", PATH, failure(500, reason), times=9)]

    result = run(definition=SETTINGS)

    assert "Quote the value" in result["msg"]


def test_wait_ends_when_object_is_ready(run: Apply, server: ObjectServer) -> None:
    def make_ready(item: dict[str, Any]) -> None:
        if len(server.requests_for("GET", APPS)) > 3:
            item["status"] = READY

    server.on_read = make_ready

    assert not run(definition=DEPLOYMENT).get("failed")


def test_wait_survives_failures_of_restarting_api_server(run: Apply, server: ObjectServer) -> None:
    def lose_next_responses(item: dict[str, Any]) -> None:
        item["status"] = READY
        server.faults = server.faults or [Fault("GET", APPS, lost) for lost in (LOST, failure(503), LOST)]

    server.objects[APPS] = dict(DEPLOYMENT)
    server.on_read = lose_next_responses

    assert not run(definition=DEPLOYMENT).get("failed")
    assert all(not fault.times for fault in server.faults)


def test_wait_reports_progress_at_timeout(run: Apply) -> None:
    result = run(definition=DEPLOYMENT, wait_timeout=1)

    assert "Deployment default/app did not become ready within 1 s: 0 of 1 Pods are ready" in result["msg"]
    assert result["changed"]


def test_wait_reports_progress_if_reasons_cannot_be_read(run: Apply, server: ObjectServer) -> None:
    server.faults = [Fault("GET", "/events", LOST, times=9)]

    result = run(definition=DEPLOYMENT, wait_timeout=0)

    assert "Deployment default/app did not become ready within 0 s: 0 of 1 Pods are ready" in result["msg"]


def test_wait_does_not_exceed_timeout_by_retries(run: Apply, server: ObjectServer, clock: Clock) -> None:
    server.objects[APPS] = dict(DEPLOYMENT)
    server.on_read = lambda item: server.faults.append(Fault("GET", APPS, LOST, times=10_000))
    begin = clock.monotonic()

    result = run(definition=DEPLOYMENT, wait_timeout=1)

    assert result["failed"]
    assert clock.monotonic() - begin < 20


def test_wait_reports_object_that_is_not_deleted(run: Apply, server: ObjectServer) -> None:
    run(definition=SETTINGS)
    server.objects[PATH]["metadata"]["finalizers"] = ["example.com/hold"]
    kept = server.objects[PATH]
    server.on_read = lambda item: server.objects.update({PATH: kept})
    server.faults = [Fault("DELETE", PATH, failure(200))]

    result = run(definition=SETTINGS, state="absent", wait_timeout=1)

    assert "still exists after 1 s; it waits for the finalizers example.com/hold" in result["msg"]


def test_wait_reports_all_objects_that_are_not_ready(run: Apply) -> None:
    other = {**DEPLOYMENT, "metadata": {"name": "other"}}

    result = run(definition=[DEPLOYMENT, other], wait_timeout=1)

    names = [line.partition(" did not become ready within 1 s")[0] for line in result["msg"].split("\n")]
    assert names == ["Deployment default/app", "Deployment default/other"]


def test_apply_shows_changed_objects_and_what_it_waits_for(
    run: Apply, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_ready(item: dict[str, Any]) -> None:
        if len(server.requests_for("GET", APPS)) > 4:
            item["status"] = READY

    shown = ShownTexts(monkeypatch)
    status = r"waiting for Deployment default/app since 12:00:00 \([0-9]+ s\): 0 of 1 Pods are ready"
    run(definition=SETTINGS)
    server.on_read = make_ready
    monkeypatch.setattr(apply_wait.Poll, "pause", lambda _poll: shown.wait_for_last(status))

    run(definition=[SETTINGS, DEPLOYMENT], progress=shown.progress)

    created, ready = [message.text for message in shown.messages if message.lasting]
    assert created == "Deployment default/app created"
    assert re.fullmatch(r"Deployment default/app is ready \([0-9.]+ s\)", ready)


def test_wait_succeeds_if_reasons_for_status_cannot_be_read(run: Apply, server: ObjectServer) -> None:
    fault = Fault("GET", APPS, failure(403, "no permission"))

    def make_ready(item: dict[str, Any]) -> None:
        # After one request before the creation and those of 0 to 5 seconds, the next one is for the reasons.
        if len(server.requests_for("GET", APPS)) == 7:
            server.faults = [fault]
        elif server.faults:
            item["status"] = READY

    server.on_read = make_ready

    result = run(definition=DEPLOYMENT, progress=Progress(lambda message: None))

    assert not result.get("failed"), result.get("msg")
    assert not fault.times


def test_wait_reports_object_that_another_client_created_and_deleted(run: Apply, server: ObjectServer) -> None:
    server.faults = [Fault("POST", CONFIG_MAPS, failure(409, "already exists"))]

    result = run(definition=SETTINGS, keep_existing=True)

    assert result["msg"] == "ConfigMap default/settings was deleted before it was ready"
