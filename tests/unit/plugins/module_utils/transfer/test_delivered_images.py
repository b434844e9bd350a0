# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of delivered names during pushes, copies, deletions and prunes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import ClusterRegistry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.delivered_names import Name
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.delivered_images import DeliveredImages
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from unit.plugins.module_utils.support import registry_deletion
from unit.plugins.module_utils.support.delivered_lists import PATH, NamesServer, images_of
from unit.plugins.module_utils.support.fuzzing import EXAMPLES, fuzzed
from unit.plugins.module_utils.support.garbage_collection import FakeCollector
from unit.plugins.module_utils.support.images import Image, layer, make_image
from unit.plugins.module_utils.support.object_server import Fault, failure
from unit.plugins.module_utils.support.prunes import prune_registry
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.tasks import change_in, connected
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
    server: RegistryServer,
    registry: ClusterRegistry,
    api_server: NamesServer,
    delivered: DeliveredImages,
    collector: FakeCollector,
    image: Image,
    other_image: Image,
) -> None:
    server.fill("team/app", "old", image)
    server.fill("team/app", "new", other_image)
    api_server.store({"team._app": f"new old {image.digest} {other_image.digest}"})
    seen = names_at_deletion(server, api_server)

    prune_registry(registry, collector, keep=["*:new"], delivered=delivered)

    assert seen[-1] == {"new", other_image.digest}
    assert api_server.data == {"team._app": f"new {other_image.digest}"}


def test_collection_removes_digest_of_overwritten_tag(
    server: RegistryServer,
    registry: ClusterRegistry,
    api_server: NamesServer,
    delivered: DeliveredImages,
    collector: FakeCollector,
    image: Image,
    other_image: Image,
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "1", other_image)
    api_server.store({"team._app": f"1 {image.digest} {other_image.digest}"})

    result = prune_registry(registry, collector, keep=["*"], delivered=delivered)

    assert result["changed"]
    assert api_server.data == {"team._app": f"1 {other_image.digest}"}


def test_prune_in_check_mode_does_not_change_list(
    server: RegistryServer,
    registry: ClusterRegistry,
    api_server: NamesServer,
    delivered: DeliveredImages,
    collector: FakeCollector,
    image: Image,
) -> None:
    server.fill("team/app", "1", image)
    api_server.store({"team._app": "1"})

    prune_registry(registry, collector, check_mode=True, allow_empty=True, delivered=delivered)

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


IMAGES = [make_image(layer("bin/app", str(number).encode())) for number in range(3)]
REPOSITORIES = st.sampled_from(["team/api", "web"])
TAGS = st.sampled_from(["1", "2"])
POSITIONS = st.integers(0, 25)


class Histories(RuleBasedStateMachine):
    """The history of a registry and its list. Each deletion is interrupted by a push of another client."""

    def __init__(self) -> None:
        super().__init__()
        self.exit_stack = ExitStack()
        self.server = self.exit_stack.enter_context(RegistryServer().running())
        self.api_server = NamesServer()
        self.exit_stack.callback(self.api_server.stop)
        self.api_server.store()
        self.registry = self.exit_stack.enter_context(connected(self.server.url))
        self.collector = FakeCollector(self.server)
        self.delivered = images_of(self.api_server, self.registry)

    def teardown(self) -> None:
        self.exit_stack.close()

    @rule(repository=REPOSITORIES, tag=TAGS, image=st.sampled_from(IMAGES))
    def push(self, repository: str, tag: str, image: Image) -> None:
        """Push an image or move a tag, and add its names, as other clients do."""
        self.server.fill(repository, tag, image)
        names = [(repository, tag), (repository, image.digest)]
        images_of(self.api_server, self.registry).names.change(lambda _listed: (names, ()))

    @rule(repository=REPOSITORIES, tag=TAGS, other=TAGS, image=st.sampled_from(IMAGES), position=POSITIONS)
    def delete(self, repository: str, tag: str, other: str, image: Image, position: int) -> None:
        """Delete a tag while an image is pushed."""
        with self._pushing(position, repository, other, image):
            change_in(self.registry, f"{repository}:{tag}", state="absent", delivered=self.delivered)

    @rule(repository=REPOSITORIES, tag=TAGS, image=st.sampled_from(IMAGES), position=POSITIONS)
    def prune(self, repository: str, tag: str, image: Image, position: int) -> None:
        """Keep only one tag while an image is pushed."""
        with self._pushing(position, repository, tag, image):
            prune_registry(
                self.registry, self.collector, keep=["team/api:1"], allow_empty=True, delivered=self.delivered
            )

    @rule(repository=REPOSITORIES, tag=TAGS, image=st.sampled_from(IMAGES), position=POSITIONS)
    def list_all(self, repository: str, tag: str, image: Image, position: int) -> None:
        """List all images while an image is pushed."""
        with self._pushing(position, repository, tag, image):
            self.delivered.list_all(check_mode=False)
        assert self._stale_names() == set()

    @rule()
    def prune_alone(self) -> None:
        """Keep all tags, and collect garbage."""
        prune_registry(self.registry, self.collector, keep=["*"], delivered=self.delivered)
        assert self._stale_names() == set()

    def _pushing(self, position: int, repository: str, tag: str, image: Image) -> ExitStack:
        """Push an image before a request to the registry with this position."""
        requests = iter(range(position + 1))

        def guard(_path: str, _headers: Mapping[str, str]) -> None:
            if next(requests, -1) == position:
                self.push(repository, tag, image)

        stack = ExitStack()
        self.server.guard = guard
        stack.callback(setattr, self.server, "guard", lambda _path, _headers: None)
        return stack

    def _stale_names(self) -> set[Name]:
        """Return the names in the list that do not exist."""
        return self.api_server.names - self._manifests()

    def _manifests(self) -> set[Name]:
        manifests = self.server.manifests
        return {(repository, name) for repository in list(manifests) for name in list(manifests[repository])}

    @invariant()
    def list_has_all_images_of_registry(self) -> None:
        """Check that no image is missing in the list, and that each tag in it exists."""
        tags = {name for name in self._manifests() if ":" not in name[1] and not name[1].startswith("k8scr-")}
        roots = {(repository, self.server.digest_of(repository, tag) or "") for repository, tag in tags}
        assert tags | roots <= self.api_server.names
        assert all(":" in reference for _repository, reference in self._stale_names())


def test_list_has_images_of_registry_after_any_history() -> None:
    run_state_machine_as_test(Histories, settings=settings(fuzzed, max_examples=EXAMPLES or 20, stateful_step_count=15))
