# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random histories of pushes, moved tags, workloads and prunes: what stays is whole, and nothing else is stored.

Each run tries the same few histories; ``K8SCR_FUZZ_EXAMPLES`` sets the number of random ones.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.referrers import cosign_tags
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from unit.plugins.module_utils.support.fuzzing import EXAMPLES, fuzzed
from unit.plugins.module_utils.support.garbage_collection import FakeCollector
from unit.plugins.module_utils.support.images import Image, layer, make_image, make_index
from unit.plugins.module_utils.support.inventories import use
from unit.plugins.module_utils.support.prunes import Workloads, prune_registry
from unit.plugins.module_utils.support.registry_server import RegistryServer, error_response
from unit.plugins.module_utils.support.tasks import connected

BASE = layer("etc/motd", b"welcome")
PLAIN = [make_image(BASE, layer("bin/app", str(number).encode())) for number in range(3)]
IMAGES = [*PLAIN, make_index({"linux/amd64": PLAIN[0], "linux/arm64": PLAIN[1]}), make_index({"linux/amd64": PLAIN[2]})]
REPOSITORIES = st.sampled_from(["team/api", "team/web"])
TAGS = st.sampled_from(["1.0", "1.1", "main", "stable"])
RULES = st.fixed_dictionaries(
    {},
    optional={
        "keep": st.sampled_from([["*:stable"], ["team/web"], ["*:1.*"]]),
        "keep_last": st.integers(1, 2),
        "repositories": st.just(["team/api"]),
        "keep_used": st.just(False),
    },
)


def signature_of(image: Image) -> tuple[str, Image]:
    """Return cosign's tag for an image, and a signature."""
    [tag] = [name for name in cosign_tags(image.digest) if name.endswith(".sig")]
    return tag, make_image(layer("sig", image.digest.encode()))


class Histories(RuleBasedStateMachine):
    """The history of one registry."""

    kind = ""

    def __init__(self) -> None:
        super().__init__()
        self.exit_stack = ExitStack()
        self.server = self.exit_stack.enter_context(RegistryServer().running())
        self.registry = self.exit_stack.enter_context(connected(self.server.url))
        self.collector = FakeCollector(self.server, self.kind)
        self.tags: dict[tuple[str, str], Image] = {}
        self.uses: dict[str, tuple[str, Image]] = {}

    def teardown(self) -> None:
        self.exit_stack.close()

    @rule(repository=REPOSITORIES, tag=TAGS, image=st.sampled_from(IMAGES))
    def push(self, repository: str, tag: str, image: Image) -> None:
        """Push an image, or move a tag."""
        self.server.fill(repository, tag, image)
        self.tags[repository, tag] = image

    @rule(repository=REPOSITORIES, image=st.sampled_from(IMAGES))
    def sign(self, repository: str, image: Image) -> None:
        """Push a signature of an image."""
        if image in [found for (name, _tag), found in self.tags.items() if name == repository]:
            tag, signature = signature_of(image)
            self.server.fill(repository, tag, signature)
            self.tags[repository, tag] = signature

    @rule(repository=REPOSITORIES, image=st.sampled_from(IMAGES))
    def run_by_digest(self, repository: str, image: Image) -> None:
        """Push an image without a tag, and run it."""
        self.server.fill(repository, None, image)
        self.uses[f"example.com/{repository}@{image.digest}"] = repository, image

    @rule(repository=REPOSITORIES, tag=TAGS)
    def run_by_tag(self, repository: str, tag: str) -> None:
        """Run the image that has a tag."""
        if (repository, tag) in self.tags:
            self.uses[f"example.com/{repository}:{tag}"] = repository, self.tags[repository, tag]

    @rule()
    def stop(self) -> None:
        """Delete all workloads."""
        self.uses.clear()

    @rule(rules=RULES, fails=st.sampled_from(["", "DELETE", "HEAD", "PUT"]), after=st.integers(0, 6))
    def prune(self, rules: dict[str, Any], fails: str, after: int) -> None:
        """Prune, with one failed request or none."""
        if fails:
            count = iter(range(1000))
            self.server.fail(
                fails, "/manifests/", lambda good: error_response(500, "X") if next(count) == after else good
            )
        workloads = Workloads([use(name, image.digest) for name, (_repository, image) in self.uses.items()])
        try:
            result = prune_registry(self.registry, self.collector, workloads, **rules)
        except InputError:
            return
        except K8scrError:
            assert fails
            return
        finally:
            self.server.faults.clear()
        deleted = {entry["image"] for entry in result["images"]}
        for repository, tag in list(self.tags):
            if f"{repository}:{tag}" in deleted:
                del self.tags[repository, tag]
                assert tag not in self.server.manifests[repository]
        if rules.get("keep_used") is False:
            # The user decided that images in use may go.
            self.uses.clear()
        self._check_result(rules, result, deleted)

    def _check_result(self, rules: dict[str, Any], result: dict[str, Any], deleted: set[str]) -> None:
        kept = {entry["image"] for entry in result["kept"]}
        assert kept.isdisjoint(deleted)
        assert not any(name.startswith("team/web") for name in deleted if "repositories" in rules)
        assert not any(name.endswith(":stable") for name in deleted if rules.get("keep") == ["*:stable"])
        if not result.get("failed") and self.kind == "distribution 3":
            reachable = {
                digest: len(content)
                for manifests in self.server.manifests.values()
                for digest, (_type, content) in manifests.items()
                if ":" in digest
            }
            for repository, manifests in self.server.manifests.items():
                images = [*IMAGES, *(signature_of(image)[1] for image in IMAGES)]
                for image in images:
                    if image.digest in manifests:
                        reachable.update({name: len(self.server_content(repository, name)) for name in image.contents})
            assert self.collector.stored_bytes() == sum(reachable.values())

    def server_content(self, repository: str, digest: str) -> bytes:
        """Return a blob or a manifest of a repository."""
        manifest = self.server.manifests[repository].get(digest)
        return manifest[1] if manifest else self.server.blobs[repository][digest]

    @invariant()
    def all_tags_and_images_in_use_are_whole(self) -> None:
        """Check that each image that was not deleted has all of its content."""
        for (repository, tag), image in self.tags.items():
            assert self.server.digest_of(repository, tag) == image.digest
            self._require_whole(repository, image)
        for repository, image in self.uses.values():
            self._require_whole(repository, image)

    def _require_whole(self, repository: str, image: Image) -> None:
        for digest, content in image.contents.items():
            assert self.server_content(repository, digest) == content


@pytest.mark.parametrize("kind", ["distribution 3", "distribution 2.8"])
def test_every_image_that_stays_is_whole_after_any_history(kind: str) -> None:
    machine = type("MachineOfKind", (Histories,), {"kind": kind})
    run_state_machine_as_test(machine, settings=settings(fuzzed, max_examples=EXAMPLES or 20, stateful_step_count=20))
