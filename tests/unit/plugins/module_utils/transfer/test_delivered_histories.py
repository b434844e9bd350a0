# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of delivered names after any history of pushes, deletions and prunes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.delivered_names import Name
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from unit.plugins.module_utils.support.delivered_lists import NamesServer, images_of
from unit.plugins.module_utils.support.fuzzing import EXAMPLES, fuzzed
from unit.plugins.module_utils.support.garbage_collection import FakeCollector
from unit.plugins.module_utils.support.images import Image, layer, make_image
from unit.plugins.module_utils.support.prunes import prune_registry
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.tasks import change_in, connected

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
