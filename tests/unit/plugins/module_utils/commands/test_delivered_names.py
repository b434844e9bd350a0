# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""k8scr_delivered_names creates, updates and deletes the list of a registry's images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import delivered_names
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import ClusterRegistry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.api_server import Access, ApiServerAdapter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.connection import Endpoint
from unit.plugins.module_utils.support.delivered_lists import PATH, NamesServer
from unit.plugins.module_utils.support.documented_results import differences
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer, error_response
from unit.plugins.module_utils.support.settings import module_options

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def api_server() -> Iterator[NamesServer]:
    """An API server without a list."""
    running = NamesServer()
    yield running
    running.stop()


@pytest.fixture
def run(
    api_server: NamesServer,
    server: RegistryServer,
    registry: ClusterRegistry,
    image: Image,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Runs a task for a registry with ``image`` as team/app:1, and checks the keys of its result."""
    server.fill("team/app", "1", image)

    @contextmanager
    def connect(*_arguments: Any, **_options: Any) -> Iterator[ClusterRegistry]:
        yield registry

    registry.api_server = ApiServerAdapter(lambda: Access(Endpoint(api_server.url), lambda: None))
    monkeypatch.setattr(delivered_names, "connect_registry", connect)

    def task(check_mode: bool = False, **options: Any) -> dict[str, Any]:
        parameters = module_options(delivered_names.DELIVERED_NAMES_ARGUMENT_SPEC, **options)
        result = delivered_names.run_delivered_names(parameters, check_mode)
        assert differences("k8scr_delivered_names", result) == []
        return result

    return task


def test_list_is_created_with_images_of_registry(api_server: NamesServer, run: Run, image: Image) -> None:
    result = run()

    assert result["changed"]
    assert (result["config_map"], result["names"]) == ("k8scr-delivered", 2)
    assert api_server.data == {"team._app": f"1 {image.digest}"}


def test_existing_list_is_unchanged_in_second_run(api_server: NamesServer, run: Run) -> None:
    run()
    api_server.requests.clear()

    result = run()

    assert not result["changed"]
    assert {request.method for request in api_server.requests} == {"GET"}


def test_empty_list_is_created_for_empty_registry(api_server: NamesServer, server: RegistryServer, run: Run) -> None:
    server.manifests.clear()

    result = run()

    assert result["changed"]
    assert api_server.data == {}


@pytest.mark.parametrize("exists", [False, True])
def test_check_mode_shows_names_without_writing(api_server: NamesServer, run: Run, image: Image, exists: bool) -> None:
    if exists:
        api_server.store()

    result = run(check_mode=True)

    assert (result["changed"], result["names"]) == (True, 2)
    assert result["diff"]["after"] == f"team/app:1\nteam/app@{image.digest}\n"
    assert {request.method for request in api_server.requests} == {"GET"}


def test_image_that_cannot_be_read_stays_in_list(api_server: NamesServer, server: RegistryServer, run: Run) -> None:
    api_server.store({"team._app": "1"})
    server.fail("HEAD", "/manifests/1", error_response(500, "UNKNOWN"))

    run()

    assert "1" in api_server.data["team._app"].split()


@pytest.mark.parametrize("check_mode", [False, True])
def test_absent_list_is_deleted_once(api_server: NamesServer, run: Run, check_mode: bool) -> None:
    api_server.store({"web": "1"})

    result = run(check_mode, state="absent")

    assert result["changed"]
    assert (PATH in api_server.objects) is check_mode
    assert run(state="absent")["changed"] is check_mode


def test_config_map_with_other_purpose_is_error(api_server: NamesServer, run: Run) -> None:
    api_server.store({"index.html": "hello"}, labels={})

    with pytest.raises(InputError, match="is not the list of delivered names"):
        run()


def test_pod_without_stateful_set_is_error(run: Run) -> None:
    with pytest.raises(InputError, match="does not belong to a StatefulSet"):
        run(registry="registry")
