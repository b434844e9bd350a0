# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of a prune: kept images are complete, other images are deleted, and no bytes are leaked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..checks import FaultOutcome, check_result
from ..faults.base import Fault
from ..module_process import Run
from .model import Expectation, StoredRepository
from .plan import CONCURRENT_REPOSITORY, Push
from .pool import Library
from .storage import Storage

_COLLECTION_RUNNING = "garbage collection is running"


@dataclass
class PruneOutcome(FaultOutcome):
    """Outcome of a prune.

    Attributes:
        runs: Runs of the module until it succeeded.
        pushed_before: Images and tags that were pushed before the prune.
        kept: Images that a rule keeps.
        deleted: Images that no rule keeps.
        damaged: Kept or pushed images that are missing or incomplete.
        bytes_before: Bytes of all blobs before the prune.
        bytes_after: Bytes of all blobs after the prune.
        leaked: Bytes of blobs that no image needs; None after a prune with faults or pushes.
        collection_seconds: Duration of the garbage collection, as the module returns it.
        requests: HTTP requests of pulls on the nodes.
        pulls: Images that the nodes' containerds pulled.
        failed_pulls: Failed pulls on the nodes.
        pulled_after: Images that skopeo and containerd pulled after the prune.
        pushes: Pushes during the prune.
        pushes_repeated: Pushes that failed because of the garbage collection or a fault, and succeeded when repeated.
        total_seconds: Duration with preparation and checks.
    """

    runs: int = 0
    pushed_before: int = 0
    kept: int = 0
    deleted: int = 0
    damaged: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    leaked: int | None = None
    collection_seconds: float = 0.0
    requests: int = 0
    pulls: int = 0
    failed_pulls: int = 0
    pulled_after: int = 0
    pushes: int = 0
    pushes_repeated: int = 0
    total_seconds: float = 0.0

    def read_result(self, result: dict[str, Any]) -> None:
        """Copy the values that the module returned."""
        self.collection_seconds = float((result.get("collected") or {}).get("seconds") or 0)


@dataclass(frozen=True)
class PushedTag:
    """A tag that was pushed during the prune.

    Attributes:
        tag: The tag, in the repository of concurrent pushes.
        digest: The digest of the image.
    """

    tag: str
    digest: str


def check_pushes(
    outcome: PruneOutcome,
    pushes: Sequence[tuple[Push, list[Run]]],
    injected: Sequence[Fault],
    library: Library,
) -> list[PushedTag]:
    """Check that pushes during the prune succeeded, possibly when repeated, and return their tags."""
    tags = []
    for push, runs in pushes:
        if not runs:
            # The prune ended before the push would have started.
            continue
        outcome.pushes += 1
        if len(runs) > 1:
            _check_failed_push(outcome, runs[0], injected)
            outcome.pushes_repeated += 1
        if not runs[-1].succeeded:
            message = (runs[-1].result or {}).get("msg", "no result")
            outcome.problems.append(f"a push failed, and failed again when repeated: {message}")
            continue
        tags += [PushedTag(entry.name.rpartition(":")[2], library.digest(entry.content)) for entry in push.entries]
    return tags


def check_tags(
    outcome: PruneOutcome,
    before: Mapping[str, StoredRepository],
    after: Mapping[str, StoredRepository],
    expected: Expectation,
    pushed: Sequence[PushedTag],
) -> None:
    """Check that a successful prune kept the tags that a rule keeps, and deleted all others.

    Args:
        outcome: The outcome of the prune.
        before: The repositories before the prune.
        after: The repositories after the prune.
        expected: The images that must stay and those that must be deleted.
        pushed: The tags that were pushed during the prune.
    """
    moved = {push.tag for push in pushed}
    for name, repository in before.items():
        tags = after[name].tags if name in after else {}
        for tag, digest in repository.tags.items():
            if name == CONCURRENT_REPOSITORY and tag in moved:
                continue
            if (name, tag) in expected.kept_tags and tags.get(tag) != digest:
                outcome.problems.append(f"the kept tag {name}:{tag} refers to {tags.get(tag, 'nothing')}")
            if (name, tag) in expected.gone_tags and tag in tags:
                outcome.problems.append(f"the tag {name}:{tag}, which no rule keeps, was not deleted")
    tags = after[CONCURRENT_REPOSITORY].tags if CONCURRENT_REPOSITORY in after else {}
    for tag in moved:
        possible = [push.digest for push in pushed if push.tag == tag]
        if tags.get(tag) not in possible:
            outcome.problems.append(
                f"the pushed tag {CONCURRENT_REPOSITORY}:{tag} refers to {tags.get(tag, 'nothing')}"
            )


def check_contents(outcome: PruneOutcome, storage: Storage, images: Sequence[tuple[str, str]], exact: bool) -> None:
    """Check that images are complete, and that no bytes are leaked.

    Args:
        outcome: The outcome of the prune.
        storage: The registry's storage after the prune.
        images: All images and referrers that must be in the storage, as repository and digest.
        exact: Whether the storage must not have any other blob.
    """
    sizes: dict[str, int] = {}
    for repository, digest in images:
        contents = storage.contents(repository, digest)
        sizes.update(contents.sizes)
        outcome.damaged += bool(contents.problems)
        outcome.problems += [f"{repository}@{digest}: {problem}" for problem in contents.problems]
    stored = storage.blobs()
    outcome.bytes_after = sum(stored.values())
    outcome.uploads = storage.uploads()
    if exact:
        leaked = {digest: size for digest, size in stored.items() if digest not in sizes}
        outcome.leaked = sum(leaked.values())
        if leaked:
            outcome.problems.append(f"{outcome.leaked} bytes in {len(leaked)} blobs are leaked: {sorted(leaked)[:5]}")


def _check_failed_push(outcome: PruneOutcome, run: Run, injected: Sequence[Fault]) -> None:
    error = str((run.result or {}).get("msg"))
    if run.hung or _COLLECTION_RUNNING not in error:
        check_result(outcome, run, injected, fault_at_start=bool(injected))
