# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of delivered names during pushes, copies, deletions and prunes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import ClusterRegistry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.delivered_images import DeliveredImages
from unit.plugins.module_utils.support import registry_deletion
from unit.plugins.module_utils.support.delivered_lists import PATH, NamesServer, images_of
from unit.plugins.module_utils.support.garbage_collection import FakeCollector
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.object_server import Fault, failure
from unit.plugins.module_utils.support.prunes import prune_registry
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.tasks import change_in
from unit.plugins.module_utils.support.upstream_servers import settings as upstream_settings
from unit.plugins.module_utils.support.upstream_servers import source

Run = Callable[..., dict[str, Any]]
FORBIDDEN = 'configmaps "k8scr-delivered" is forbidden: User "pusher" cannot get resource "configmaps"'


@pytest.fixture
def api_server() -> Iterator[NamesServer]:
    """An API server with an empty list."""
    running = NamesServer()
    running.store()
    yield running
    running.stop()


@pytest.fixture
def delivered(api_server: NamesServer, registry: ClusterRegistry) -> DeliveredImages:
    """The list of the images of ``server``."""
    return images_of(api_server, registry)


@pytest.fixture
def push_listed(push: Run, upstream: RegistryServer, image: Image, delivered: DeliveredImages) -> Run:
    """Pushes ``image`` as team/app:1."""
    upstream.fill("team/app", "1", image)
    return partial(push, source(upstream), upstreams=upstream_settings(upstream), delivered=delivered)


@pytest.fixture
def change(server: RegistryServer, registry: ClusterRegistry, delivered: DeliveredImages) -> Run:
    """Runs a task of k8scr_image in ``server``, which deletes as distribution 3 does."""
    server.delete = registry_deletion.by_tag
    return partial(change_in, registry, delivered=delivered)


@pytest.fixture
def prune(registry: ClusterRegistry, collector: FakeCollector, delivered: DeliveredImages) -> Callable[..., Any]:
    """Prunes ``server``."""
    return partial(prune_registry, registry, collector, delivered=delivered)


def test_push_adds_tag_and_digest_of_new_image(api_server: NamesServer, push_listed: Run, image: Image) -> None:
    result = push_listed()

    assert api_server.data == {"team._app": f"1 {image.digest}"}
    assert result["diff"][1]["after"] == f"team/app:1\nteam/app@{image.digest}\n"


def test_push_adds_unchanged_image(api_server: NamesServer, push_listed: Run, image: Image) -> None:
    push_listed()
    api_server.store()

    result = push_listed()

    assert api_server.data == {"team._app": f"1 {image.digest}"}
    assert result["changed"]


def test_push_of_listed_image_changes_nothing(api_server: NamesServer, push_listed: Run) -> None:
    push_listed()
    api_server.requests.clear()

    result = push_listed()

    assert not result["changed"]
    assert [request.method for request in api_server.requests] == ["GET"]


def test_push_in_check_mode_reports_change_of_list(api_server: NamesServer, push_listed: Run) -> None:
    push_listed()
    api_server.store()

    result = push_listed(check_mode=True)

    assert result["changed"]
    assert api_server.data == {}


def test_push_without_list_sends_one_request(api_server: NamesServer, push_listed: Run) -> None:
    api_server.objects.clear()

    result = push_listed()

    assert "failed" not in result
    assert [request.method for request in api_server.requests] == ["GET"]


def test_push_does_not_add_image_that_failed(server: RegistryServer, api_server: NamesServer, push_listed: Run) -> None:
    server.fail("PUT", "/manifests/", error_response(400, "MANIFEST_INVALID"))

    result = push_listed()

    assert result["failed"]
    assert api_server.data == {}


def test_push_fails_if_list_cannot_be_changed(
    server: RegistryServer, api_server: NamesServer, push_listed: Run, image: Image
) -> None:
    api_server.faults.append(Fault("PATCH", PATH, failure(422, "Too long: may not be more than 1048576 bytes")))

    result = push_listed()

    assert result["failed"]
    assert result["msg"].startswith("The images are not in the list of delivered names: the API server does not change")
    assert result["images"][0]["digest"] == server.digest_of("team/app", "1") == image.digest


@pytest.mark.parametrize("is_of_role", [True, False])
def test_push_of_forbidden_user_warns_if_registry_is_of_role(
    registry: ClusterRegistry, api_server: NamesServer, push_listed: Run, is_of_role: bool
) -> None:
    warnings: list[str] = []
    api_server.faults.append(Fault("GET", PATH, failure(403, FORBIDDEN)))
    forbidden = images_of(api_server, registry, is_of_role=lambda: is_of_role, warn=warnings.append)

    result = push_listed(delivered=forbidden)

    assert "failed" not in result
    assert len(warnings) == is_of_role
    assert all(FORBIDDEN in text and "Run the role registry again" in text for text in warnings)


def test_push_of_user_who_may_only_read_list_warns(
    registry: ClusterRegistry, api_server: NamesServer, push_listed: Run
) -> None:
    warnings: list[str] = []
    api_server.faults.append(Fault("PATCH", PATH, failure(403, "forbidden")))

    result = push_listed(delivered=images_of(api_server, registry, warn=warnings.append))

    assert "failed" not in result
    assert len(warnings) == 1


def test_copy_adds_new_tag(server: RegistryServer, api_server: NamesServer, change: Run, image: Image) -> None:
    server.fill("team/app", "1", image)

    change("production/app:2", source="team/app:1")

    assert api_server.data == {"production._app": f"2 {image.digest}"}


def names_at_deletion(server: RegistryServer, api_server: NamesServer) -> list[set[str]]:
    """Return a list that gets the tags and digests in the list of delivered names at each deletion in a registry."""
    seen: list[set[str]] = []

    def note(response: Response) -> Response:
        seen.append({reference for _repository, reference in api_server.names})
        return response

    server.fail("DELETE", "/manifests/", note)
    return seen


def test_deletion_removes_tag_from_list_first(
    server: RegistryServer, api_server: NamesServer, change: Run, image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "2", image)
    api_server.store({"team._app": f"1 2 {image.digest}"})
    seen = names_at_deletion(server, api_server)

    change("team/app:1", state="absent")

    assert seen == [{"2", image.digest}]
    assert api_server.data == {"team._app": f"2 {image.digest}"}


def test_deletion_by_digest_removes_all_names_of_image(
    server: RegistryServer, api_server: NamesServer, change: Run, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "2", other_image)
    api_server.store({"team._app": f"1 2 {image.digest} {other_image.digest}"})

    change(f"team/app@{image.digest}", state="absent")

    assert api_server.data == {"team._app": f"2 {other_image.digest}"}


def test_failed_deletion_restores_name(
    server: RegistryServer, api_server: NamesServer, change: Run, image: Image
) -> None:
    server.fill("team/app", "1", image)
    api_server.store({"team._app": "1"})
    server.fail("DELETE", "/manifests/", error_response(403, "DENIED"))

    result = change("team/app:1", state="absent")

    assert result["failed"]
    assert api_server.data == {"team._app": "1"}


def test_failed_deletion_restores_name_after_lost_response(
    server: RegistryServer, api_server: NamesServer, change: Run, image: Image
) -> None:
    server.fill("team/app", "1", image)
    api_server.store({"team._app": "1"})
    api_server.faults.append(Fault("PATCH", PATH, carried_out=True))
    server.fail("DELETE", "/manifests/", error_response(403, "DENIED"))

    change("team/app:1", state="absent")

    assert api_server.data == {"team._app": "1"}


def test_image_is_not_deleted_if_list_cannot_be_changed(
    server: RegistryServer, api_server: NamesServer, change: Run, image: Image
) -> None:
    server.fill("team/app", "1", image)
    api_server.store({"team._app": "1"})
    api_server.faults.append(Fault("PATCH", PATH, failure(400), times=100))

    result = change("team/app:1", state="absent")

    assert result["failed"]
    assert server.digest_of("team/app", "1") == image.digest


def test_prune_removes_names_before_deletion(
    server: RegistryServer, api_server: NamesServer, prune: Callable[..., Any], image: Image, other_image: Image
) -> None:
    server.fill("team/app", "old", image)
    server.fill("team/app", "new", other_image)
    api_server.store({"team._app": f"new old {image.digest} {other_image.digest}"})
    seen = names_at_deletion(server, api_server)

    prune(keep=["*:new"])

    assert seen[-1] == {"new", other_image.digest}
    assert api_server.data == {"team._app": f"new {other_image.digest}"}


def test_collection_removes_digest_of_overwritten_tag(
    server: RegistryServer, api_server: NamesServer, prune: Callable[..., Any], image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "1", other_image)
    api_server.store({"team._app": f"1 {image.digest} {other_image.digest}"})

    result = prune(keep=["*"])

    assert result["changed"]
    assert api_server.data == {"team._app": f"1 {other_image.digest}"}


def test_prune_in_check_mode_does_not_change_list(
    server: RegistryServer, api_server: NamesServer, prune: Callable[..., Any], image: Image
) -> None:
    server.fill("team/app", "1", image)
    api_server.store({"team._app": "1"})

    prune(check_mode=True, allow_empty=True)

    assert api_server.requests == []


def test_list_of_all_images_omits_referrers_and_tags_of_collection(
    server: RegistryServer, api_server: NamesServer, delivered: DeliveredImages, image: Image, other_image: Image
) -> None:
    server.fill("team/app", f"k8scr-{image.digest[7:19]}", image)
    server.fill("team/app", f"sha256-{image.digest[7:]}.sig", other_image)

    delivered.list_all(check_mode=False)

    assert api_server.data == {"team._app": image.digest}


def test_list_of_all_images_removes_missing_images(
    server: RegistryServer, api_server: NamesServer, delivered: DeliveredImages, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", None, other_image)
    api_server.store({"team._app": f"0 {other_image.digest}", "gone": "1"})

    change = delivered.list_all(check_mode=False)

    assert change.changed
    assert api_server.data == {"team._app": " ".join(["1", *sorted([image.digest, other_image.digest])])}


def test_list_of_all_images_warns_about_long_repository(
    server: RegistryServer, registry: ClusterRegistry, api_server: NamesServer, image: Image
) -> None:
    warnings: list[str] = []
    server.fill(f"a/{'b' * 252}", "1", image)

    images_of(api_server, registry, warn=warnings.append).list_all(check_mode=False)

    assert api_server.data == {}
    assert len(warnings) == 1
    assert "too long for the list of delivered names" in warnings[0]
