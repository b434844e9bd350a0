# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_find_images``: options, results, the comparison with a lock file, and the workloads of a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import find_images
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.api_server import Access, ApiServerAdapter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.connection import Endpoint
from unit.plugins.module_utils.support.documented_results import differences
from unit.plugins.module_utils.support.fake_programs import arguments_of, write_program
from unit.plugins.module_utils.support.list_server import ListServer, pod_spec, template, workload
from unit.plugins.module_utils.support.module_runs import run_module
from unit.plugins.module_utils.support.object_server import Fault, failure

DIGEST = f"sha256:{'a' * 64}"
POD = (
    "kind: Pod\nmetadata: {name: app}\nspec: {containers: [{image: 'nginx:1', args: ['--agent=quay.io/a/agent:2']}]}\n"
)
NGINX = "docker.io/library/nginx:1"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A manifest with an image and a guess."""
    path = tmp_path / "app.yml"
    path.write_text(POD)
    return path


def run(capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    """Run the module, compare its result with its documentation, and return it."""
    result = run_module("k8scr_find_images", capsys, **{"src": None, **options})
    known = {name: value for name, value in result.items() if name not in ("invocation", "warnings")}
    assert differences("k8scr_find_images", known) == []
    return result


def test_find_images_returns_images_with_origins_and_guesses(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(capsys, src=[str(manifest)])

    origin = {"file": str(manifest), "document": 1, "chart": None, "kind": "Pod", "namespace": None, "name": "app"}
    found_in = [{**origin, "path": "spec.containers[0].image"}]
    assert result["changed"] is False
    assert result["images"] == [
        {"name": NGINX, "source": f"docker://{NGINX}", "how": "manifest", "count": 1, "found_in": found_in}
    ]
    assert result["sources"] == [f"docker://{NGINX}"]
    found_in = [{**origin, "path": "spec.containers[0].args[0]"}]
    assert result["guesses"] == [{"name": "quay.io/a/agent:2", "count": 1, "found_in": found_in}]


def test_find_images_renders_chart_with_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    helm = write_program(tmp_path / "helm", output=POD)
    (tmp_path / "app").mkdir()
    chart = {"chart": str(tmp_path / "app"), "kube_version": 1.36, "values": {"a": 1}}

    result = run(capsys, charts=[str(tmp_path / "app"), chart], helm=helm)

    assert [image["how"] for image in result["images"]] == ["rendered"]
    # Ansible takes a result with this key for a skipped task.
    assert "skipped" not in result
    assert "--kube-version=1.36" in arguments_of(helm)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "there is nothing to search. Set charts, src or cluster"),
        ({"charts": [7]}, "entry 1 of charts is neither a location nor a dictionary"),
        ({"charts": [{"values": {}}]}, "entry 1 of charts: missing required arguments: chart"),
        ({"charts": ["app", {"chart": "app", "valuess": {}}]}, "entry 2 of charts: .*valuess"),
        (
            {"charts": [{"chart": "app", "version": "1", "x": 1}]},
            "entry 1 of charts: unknown keys: x; known keys: chart, ",
        ),
        ({"charts": [{"chart": "--post-renderer=x"}]}, "entry 1 of charts has the invalid chart '--post-renderer=x'"),
        ({"charts": ["oci://canary-1:canary-2@registry.example.com/app"]}, "entry 1 of charts has credentials"),
        ({"charts": [{"chart": "oci://canary-3@registry.example.com/app"}]}, "entry 1 of charts has credentials"),
        ({"src": ["kustomize:https://canary-4@example.com/app"]}, "src has a URL with credentials"),
        ({"src": ["/missing"], "timeout": 0}, "timeout is 0"),
        ({"src": ["/missing"], "extra_paths": {"A": "a b"}}, "extra_paths of A has the invalid path 'a b'"),
        ({"src": ["/missing"], "lock": "/missing"}, "the lock file /missing does not exist"),
    ],
)
def test_find_images_rejects_invalid_options(
    capsys: pytest.CaptureFixture[str], options: dict[str, Any], message: str
) -> None:
    result = run_module("k8scr_find_images", capsys, **{"src": None, **options})

    assert result["failed"]
    assert message.partition(".*")[0] in result["msg"]
    assert message.rpartition(".*")[2] in result["msg"]
    assert "canary" not in result["msg"]
    assert "canary" not in json.dumps(find_images.redact_charts(options.get("charts", [])))


def test_find_images_fails_with_all_problems_and_returns_images(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.yml").write_text("a: [\n")

    result = run(capsys, src=[str(tmp_path / "broken.yml"), str(manifest), "/missing.yml"])

    assert result["failed"]
    first, second = result["msg"].splitlines()
    assert first.startswith(f"{tmp_path}/broken.yml is not YAML (line 2)")
    assert second.startswith("/missing.yml cannot be read: ")
    assert result["sources"] == [f"docker://{NGINX}"]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings of the module."""
    shown: list[str] = []
    monkeypatch.setattr(find_images, "warn", shown.append)
    return shown


def test_find_images_warns_about_problems_on_request(
    manifest: Path, capsys: pytest.CaptureFixture[str], warnings: list[str]
) -> None:
    result = run(capsys, src=[str(manifest), "/missing.yml"], on_problem="warn")

    assert "failed" not in result
    assert result["sources"] == [f"docker://{NGINX}"]
    assert [warning.partition(" cannot")[0] for warning in warnings] == ["/missing.yml"]


def test_find_images_compares_with_lock_file(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "images.lock.json"
    lock.write_text(json.dumps({"docker.io/library/nginx:0": DIGEST, "docker.io/library/redis:8": DIGEST}))
    manifest.write_text(POD + f"---\n{POD.replace('nginx:1', f'redis:8@{DIGEST}')}")

    result = run(capsys, src=[str(manifest)], lock=str(lock))

    assert (result["new"], result["removed"]) == ([NGINX], ["docker.io/library/nginx:0"])
    assert result["diff"]["before"] == "docker.io/library/nginx:0\ndocker.io/library/redis:8\n"
    assert result["diff"]["after"] == f"{NGINX}\ndocker.io/library/redis:8\n"


@pytest.fixture
def api_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ListServer]:
    """An API server with workloads, to which the module connects."""
    server = ListServer()
    adapter = ApiServerAdapter(lambda: Access(Endpoint(server.url), lambda: None))

    @contextmanager
    def connect(_settings: Any) -> Iterator[Any]:
        yield SimpleNamespace(adapter=adapter)

    monkeypatch.setattr(find_images, "connect", connect)
    yield server
    server.stop()


def test_find_images_returns_images_of_cluster(api_server: ListServer, capsys: pytest.CaptureFixture[str]) -> None:
    api_server.lists["Deployment"] = [workload("web", template("nginx:1"))]
    api_server.lists["Pod"] = [workload("db", pod_spec("redis:8"))]

    result = run(capsys, cluster=True)

    assert [image["name"] for image in result["images"]] == [NGINX, "docker.io/library/redis:8"]
    origin = {"document": None, "file": None, "chart": None, "path": None}
    assert result["images"][0]["found_in"] == [{**origin, "kind": "Deployment", "namespace": "apps", "name": "web"}]
    assert result["images"][0]["how"] == "cluster"


def test_find_images_returns_original_names_and_does_not_hide_images_behind_forged_ones(
    api_server: ListServer, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten, own = workload("a", pod_spec("localhost:30501/library/redis:8")), workload("b", pod_spec("nginx:1"))
    rewritten["metadata"]["annotations"] = {"original-image.k8scr.core/c0": "redis:8"}
    own["metadata"]["annotations"] = {"original-image.k8scr.core/c0": "registry.example.com/library/nginx:1"}
    api_server.lists["Pod"] = [rewritten, own]

    result = run(capsys, cluster=True)

    names = {image["name"] for image in result["images"]}
    assert names == {"docker.io/library/redis:8", NGINX, "registry.example.com/library/nginx:1"}


def test_find_images_returns_and_warns_about_unseen_kinds(
    api_server: ListServer, capsys: pytest.CaptureFixture[str], warnings: list[str]
) -> None:
    api_server.faults = [Fault("GET", "/cronjobs", failure(403, "cronjobs.batch is forbidden"))]

    result = run(capsys, cluster=True)

    assert [entry["kind"] for entry in result["unseen"]] == ["CronJob"]
    (warning,) = warnings
    assert warning.startswith("The images of CronJobs are not found: ")


def test_find_images_names_invalid_image_of_cluster(api_server: ListServer, capsys: pytest.CaptureFixture[str]) -> None:
    api_server.lists["Pod"] = [workload("db", pod_spec("Invalid"))]

    result = run(capsys, cluster=True)

    assert result["failed"]
    assert result["msg"].startswith("Pod apps/db: 'Invalid' is not a valid image name")
