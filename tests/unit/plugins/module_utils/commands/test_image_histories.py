# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random histories of pushes, copies, deletions and interruptions: no other tag and no other image ever changes.

Each run tries the same few histories; ``K8SCR_FUZZ_EXAMPLES`` sets the number of random ones.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from unit.plugins.module_utils.support.fuzzing import EXAMPLES, fuzzed
from unit.plugins.module_utils.support.images import index_of, layer, make_image
from unit.plugins.module_utils.support.registry_deletion import IMPLEMENTATIONS, Manifests, by_digest
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.tasks import change_in, connected

REPOSITORIES = st.sampled_from(["team/app", "team/web"])
TAGS = st.sampled_from(["1", "2", "3"])
SINGLE = [make_image(layer("app", bytes([number]))) for number in range(3)]
INDEX = index_of([image.root.to_json() for image in SINGLE[:2]], *SINGLE[:2])
NESTED = index_of([INDEX.root.to_json(), SINGLE[2].root.to_json()], INDEX, SINGLE[2])
IMAGES = {image.digest: image for image in (*SINGLE, INDEX, NESTED)}
PICKED = st.sampled_from(list(IMAGES))


class Histories(RuleBasedStateMachine):
    """A registry, and the tags and manifests that it must have.

    Attributes:
        tags: The digest of each tag, by repository and tag.
        manifests: The digests in each repository.
        placeholders: The tags whose deletion was interrupted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.server = self.stack.enter_context(RegistryServer().running())
        self.registry = self.stack.enter_context(connected(self.server.url))
        self.tags: dict[tuple[str, str], str] = {}
        self.manifests: dict[str, set[str]] = {"team/app": set(), "team/web": set()}
        self.placeholders: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        self.stack.close()

    @initialize(implementation=st.sampled_from(list(IMPLEMENTATIONS)))
    def choose(self, implementation: str) -> None:
        self.server.delete = IMPLEMENTATIONS[implementation]
        for number, digest in enumerate(IMAGES):
            self.push("team/app", str(number % 3 + 1), digest)

    @rule(repository=REPOSITORIES, tag=TAGS, digest=PICKED)
    def push(self, repository: str, tag: str, digest: str) -> None:
        self.server.fill(repository, tag, IMAGES[digest])
        self._stored(repository, tag, digest)

    @rule(source=REPOSITORIES, source_tag=TAGS, repository=REPOSITORIES, tag=TAGS, check_mode=st.booleans())
    def copy(self, source: str, source_tag: str, repository: str, tag: str, check_mode: bool) -> None:
        digest = self.tags.get((source, source_tag))
        if (source, source_tag) in self.placeholders:
            return
        result = self._change(f"{repository}:{tag}", check_mode, source=f"{source}:{source_tag}")
        assert bool(result.get("failed")) == (digest is None)
        if digest:
            assert result["changed"] == (self.tags.get((repository, tag)) != digest)
            assert result["images"][0]["sent"]["blobs"] == 0
            if not check_mode:
                self._stored(repository, tag, digest)

    @rule(repository=REPOSITORIES, tag=TAGS, check_mode=st.booleans())
    def delete_tag(self, repository: str, tag: str, check_mode: bool) -> None:
        result = self._change(f"{repository}:{tag}", check_mode, state="absent")
        assert not result.get("failed"), result
        assert result["changed"] == ((repository, tag) in {*self.tags, *self.placeholders})
        if not check_mode:
            self.tags.pop((repository, tag), None)
            self.placeholders.discard((repository, tag))

    @rule(repository=REPOSITORIES, digest=PICKED, check_mode=st.booleans())
    def delete_image(self, repository: str, digest: str, check_mode: bool) -> None:
        result = self._change(f"{repository}@{digest}", check_mode, state="absent")
        referring = [tag for tag in self._tags_of(repository) if digest in IMAGES[self.tags[repository, tag]].contents]
        refused = any(self.tags[repository, tag] != digest for tag in referring)
        exists = digest in self.manifests[repository]
        assert bool(result.get("failed")) == (exists and refused)
        assert result["changed"] == (exists and not refused)
        if result["changed"] and not check_mode:
            self.manifests[repository].discard(digest)
            for tag in referring:
                del self.tags[repository, tag]

    @precondition(lambda self: self.server.delete is by_digest)
    @rule(repository=REPOSITORIES, tag=TAGS)
    def interrupt_deletion_of_tag(self, repository: str, tag: str) -> None:
        def interrupted(manifests: Manifests, reference: str) -> Response:
            fails = ":" in reference and reference in manifests
            return error_response(403, "DENIED") if fails else by_digest(manifests, reference)

        self.server.delete = interrupted
        result = self._change(f"{repository}:{tag}", state="absent")
        self.server.delete = by_digest
        exists = (repository, tag) in {*self.tags, *self.placeholders}
        assert bool(result.get("failed")) == exists
        if exists:
            self.tags.pop((repository, tag), None)
            self.placeholders.add((repository, tag))

    @precondition(lambda self: self.placeholders)
    @rule()
    def finish_interrupted_deletions(self) -> None:
        for repository, tag in sorted(self.placeholders):
            self.delete_tag(repository, tag, check_mode=False)

    @invariant()
    def registry_has_exactly_expected_images(self) -> None:
        for repository, manifests in self.manifests.items():
            stored = self.server.manifests.get(repository, {})
            tags = {tag: digest_of(content) for tag, (_media_type, content) in stored.items() if ":" not in tag}
            placeholders = {tag for other, tag in self.placeholders if other == repository}
            assert {tag: digest for tag, digest in tags.items() if tag not in placeholders} == {
                tag: self.tags[repository, tag] for tag in self._tags_of(repository)
            }
            assert placeholders <= set(tags)
            assert not {tags[tag] for tag in placeholders} & set(IMAGES)
            assert {digest for digest in stored if digest in IMAGES} == manifests
            for tag in self._tags_of(repository):
                image = IMAGES[self.tags[repository, tag]]
                assert set(image.contents) <= {*stored, *self.server.blobs[repository]}

    def _change(self, name: str, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        return change_in(self.registry, name, check_mode, **options)

    def _tags_of(self, repository: str) -> list[str]:
        return [tag for other, tag in self.tags if other == repository]

    def _stored(self, repository: str, tag: str, digest: str) -> None:
        self.tags[repository, tag] = digest
        self.placeholders.discard((repository, tag))
        self.manifests[repository] |= {part for part in IMAGES[digest].contents if part in IMAGES}


TestImageHistories = Histories.TestCase
TestImageHistories.settings = settings(fuzzed, max_examples=EXAMPLES or 15, stateful_step_count=40)
