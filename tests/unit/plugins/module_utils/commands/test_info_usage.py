# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option ``usage`` of ``k8scr_info``: used, unused and missing images, selections, and missing permissions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import info
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ApiServerError, InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import ClusterRegistry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.api_server import Access, ApiServerAdapter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.connection import Endpoint
from unit.plugins.module_utils.support.documented_results import differences
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.list_server import ListServer, pod_spec, template, workload
from unit.plugins.module_utils.support.object_server import Fault, failure
from unit.plugins.module_utils.support.registry_server import RegistryServer, error_response
from unit.plugins.module_utils.support.settings import module_options

Info = Callable[..., dict[str, Any]]


@pytest.fixture
def api_server() -> Iterator[ListServer]:
    """The API server, whose lists are empty."""
    running = ListServer()
    yield running
    running.stop()


@pytest.fixture
def run(api_server: ListServer, registry: ClusterRegistry, monkeypatch: pytest.MonkeyPatch) -> Info:
    """Runs a task of k8scr_info with ``usage``, checks the keys of its result, and returns the result."""

    @contextmanager
    def connect(*_arguments: Any, on_retry: Callable[[str, str], None], **_options: Any) -> Iterator[ClusterRegistry]:
        registry.retries.on_retry = on_retry
        yield registry

    registry.api_server = ApiServerAdapter(lambda: Access(Endpoint(api_server.url), lambda: None))
    monkeypatch.setattr(info, "connect_registry", connect)

    def task(**options: Any) -> dict[str, Any]:
        result = info.run_info(module_options(info.INFO_ARGUMENT_SPEC, **{"usage": True, **options}), False)
        assert differences("k8scr_info", result) == []
        return result

    return task


def users(result: dict[str, Any]) -> dict[str, list[str]]:
    """Return the kinds of the users of each image in a result."""
    return {image["name"]: [user["kind"] for user in image["used_by"]] for image in result["images"]}


def test_info_returns_used_unused_and_missing_images(
    server: RegistryServer, api_server: ListServer, run: Info, image: Image, other_image: Image
) -> None:
    server.fill("team/api", "1", image)
    server.fill("team/api", "2", other_image)
    api_server.lists["Deployment"] = [workload("api", template("quay.io/team/api:1"))]
    api_server.lists["Pod"] = [workload("db", pod_spec("db:3", "Not valid"))]

    result = run()

    assert users(result) == {"team/api:1": ["Deployment"], "team/api:2": []}
    assert result["unused"] == [{"repository": "team/api", "tags": ["2"], "digest": other_image.digest}]
    assert [(entry["name"], entry["repository"]) for entry in result["missing"]] == [
        ("Not valid", None),
        ("db:3", "library/db"),
    ]
    assert result["missing"][1]["used_by"] == [{"kind": "Pod", "namespace": "apps", "name": "db", "rollback": False}]
    assert (result["unseen"], result["changed"]) == ([], False)


def test_info_returns_invalid_names_of_workloads_printable(api_server: ListServer, run: Info) -> None:
    api_server.lists["Pod"] = [workload("bad", pod_spec("team/api:\x1b[31m1\n2"))]

    (entry,) = run()["missing"]

    assert entry["name"] == "team/api: [31m1 2"
    assert entry["reason"].isprintable()


def test_info_lists_used_image_without_tag_in_images_and_totals(
    server: RegistryServer, api_server: ListServer, run: Info, image: Image, other_image: Image
) -> None:
    server.fill("team/api", "1", image)
    server.fill("team/api", None, other_image)
    status = {"containerStatuses": [{"name": "c0", "imageID": f"team/api@{other_image.digest}"}]}
    api_server.lists["Pod"] = [workload("api", pod_spec("team/api:1"), status=status)]

    result = run()

    assert users(result) == {"team/api:1": ["Pod"], f"team/api@{other_image.digest}": ["Pod"]}
    assert result["totals"]["manifests"] == 2
    assert result["unused"] == []


def test_info_with_patterns_reports_only_selected_repositories(
    server: RegistryServer, api_server: ListServer, run: Info, image: Image
) -> None:
    server.fill("team/api", "1", image)
    server.fill("quay.io/team/db", "1", image)
    api_server.lists["Pod"] = [workload("all", pod_spec("team/api:1", "quay.io/team/db:1", "team/web:1", "other:1"))]

    result = run(repositories=["team/*"])

    assert users(result) == {"team/api:1": ["Pod"]}
    assert [entry["name"] for entry in result["missing"]] == ["team/web:1"]
    assert result["totals"]["tags"] == 1


def test_info_with_patterns_reports_no_unreadable_images_of_other_repositories(
    server: RegistryServer, api_server: ListServer, run: Info, image: Image
) -> None:
    server.fill("team/api", "1", image)
    for method in ("GET", "HEAD"):
        server.fail(method, "quay.io/team/db/manifests/1", error_response(500, "UNKNOWN"))
    api_server.lists["Pod"] = [workload("db", pod_spec("quay.io/team/db:1"))]

    result = run(repositories=["team/*"])

    assert result["incomplete"] == []
    assert [entry["name"] for entry in result["missing"]] == ["quay.io/team/db:1"]


def test_info_with_images_reports_users_of_these_images_only(
    server: RegistryServer, api_server: ListServer, run: Info, image: Image
) -> None:
    server.fill("team/api", "1", image)
    api_server.lists["Pod"] = [workload("all", pod_spec("team/api:1", "team/api:2", "team/api:3"))]

    result = run(images=["quay.io/team/api:1", "quay.io/team/api:2"])

    assert users(result) == {"team/api:1": ["Pod"]}
    assert [(entry["name"], len(entry["used_by"])) for entry in result["missing"]] == [("quay.io/team/api:2", 1)]


def test_info_returns_no_unused_images_if_a_kind_is_unseen(
    server: RegistryServer, api_server: ListServer, run: Info, image: Image
) -> None:
    server.fill("team/api", "1", image)
    api_server.faults = [Fault("GET", "/cronjobs", failure(403, "cronjobs.batch is forbidden"))]

    result = run()

    assert result["unused"] == []
    assert [entry["kind"] for entry in result["unseen"]] == ["CronJob"]
    assert "cronjobs.batch is forbidden" in result["unseen"][0]["reason"]


def test_info_reports_unreadable_tag_once(
    server: RegistryServer, api_server: ListServer, run: Info, image: Image
) -> None:
    server.fill("team/api", "1", image)
    server.manifests["team/api"]["1"] = ("application/vnd.oci.image.manifest.v1+json", b"damaged")
    api_server.lists["Pod"] = [workload("api", pod_spec("team/api:1"))]

    result = run()

    assert [entry["name"] for entry in result["incomplete"]] == ["team/api:1"]


def test_info_fails_if_a_list_fails(api_server: ListServer, run: Info) -> None:
    api_server.faults = [Fault("GET", "/jobs", failure(400, "bad request"))]

    with pytest.raises(ApiServerError, match="the Jobs of the cluster: bad request"):
        run()


def test_info_reports_retried_lists(api_server: ListServer, run: Info) -> None:
    api_server.faults = [Fault("GET", "/jobs", failure(503))]

    assert [entry["what"] for entry in run()["retries"]] == ["list the Jobs of the cluster"]


def test_info_without_usage_lists_no_workloads(
    server: RegistryServer, api_server: ListServer, run: Info, image: Image
) -> None:
    server.fill("team/api", "1", image)

    result = run(usage=False)

    assert (users(result), result["unused"], result["unseen"]) == ({"team/api:1": []}, [], [])
    assert api_server.requests_for("GET", "?limit=") == []


def test_info_rejects_usage_without_manifests(run: Info) -> None:
    with pytest.raises(InputError, match="usage cannot be found with verify: none"):
        run(verify="none")
