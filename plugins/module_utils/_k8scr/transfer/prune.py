# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Delete the tags of a registry that no rule keeps, and collect garbage.

Workloads may start to use an image at any time, so their list is read twice: right before tags are deleted, and
afterwards, while the manifests still exist. Tags that are in use by then are restored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ..errors import (
    InputError,
    K8scrError,
    MissingContentError,
    RegistryError,
    SourceError,
    StorageFullError,
)
from ..oci.digest_tag import digest_tag
from ..oci.reference import target_name
from ..registry.inventory import Inventory, StoredImage
from ..registry.inventory_reader import take_inventory
from ..registry.repository import Repository
from .progress import SILENT, elapsed
from .prune_checks import require_collectable, require_known
from .retention import Decision, decide, tag_of
from .retention_marks import broken_images
from .tag_deletion import TagDeletion
from .usage import match_usage, with_used_images

if TYPE_CHECKING:
    from ..objects.workloads import ImageUse, Unseen
    from ..registry.client import Registry
    from ..registry.collector import Collection
    from .delivered_images import DeliveredImages
    from .retention import Rules
    from .retention_marks import Verdict

FindUses = Callable[[], "tuple[tuple[ImageUse, ...], tuple[Unseen, ...]]"]


class GarbageCollector(Protocol):
    """The garbage collector of a registry; see :class:`..registry.collector.Collector`."""

    def require(self) -> None:
        """Raise an error if the registry cannot collect garbage."""

    def collect(self, timeout: float) -> Collection:
        """Run a garbage collection, and wait for it up to ``timeout`` seconds."""


@dataclass(frozen=True)
class PrunePlan:
    """What to delete, according to the images and the workloads at one moment.

    Attributes:
        uses: The uses of images that were found so far.
    """

    inventory: Inventory
    uses: tuple[ImageUse, ...]
    decision: Decision

    @property
    def unprotected(self) -> tuple[Verdict, ...]:
        """The images to keep that a garbage collection may delete; see :attr:`Verdict.needs_tag`."""
        return tuple(verdict for verdict in self.decision.verdicts if verdict.needs_tag)


@dataclass
class PruneResult:
    """The result of a prune, or in check mode its plan.

    Attributes:
        decision: The decisions with the tags that were deleted.
        protected: The images that got a tag of the collection.
        collection: The garbage collection, if there was one.
        unlisted: The names that were removed from the list of the registry's images.
        errors: The errors that ended the prune.
    """

    decision: Decision
    protected: list[StoredImage] = field(default_factory=list)
    collection: Collection | None = None
    unlisted: frozenset[tuple[str, str]] = frozenset()
    errors: list[K8scrError] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether tags were deleted or added, names were removed, or a garbage collection freed space."""
        found = self.collection
        freed = found and found.before is not None and found.after is not None and found.after < found.before
        return bool(self.decision.deleted or self.protected or self.unlisted or freed)


@dataclass(frozen=True)
class Prune:
    """One prune of a registry.

    Attributes:
        connections: The maximum number of concurrent requests.
        rules: The rules without the workloads.
        find_uses: Returns the images that workloads use, if the rules keep them.
        collector: The garbage collector, if it runs afterwards.
        collect_timeout: Seconds to wait for the garbage collection.
        allow_empty: Whether all images of the selected repositories may be deleted.
        status: Shows what the prune does during a block.
        delivered: The list of the registry's images.
    """

    registry: Registry
    connections: int
    rules: Rules
    find_uses: FindUses | None = None
    collector: GarbageCollector | None = None
    collect_timeout: int = 0
    allow_empty: bool = False
    status: Callable[[Callable[[], str | None]], AbstractContextManager[None]] = SILENT.status
    delivered: DeliveredImages | None = None

    def run(self, check_mode: bool) -> PruneResult:
        """Delete tags and collect garbage; in check mode, only make the plan.

        Errors after the first change become part of the result.

        Raises:
            InputError: The registry has no collector, not all workloads are visible, or nothing would stay.
            SourceError: An image that stays cannot be read, so its content would be lost.
            K8scrError: The registry or the API server cannot be reached.
        """
        if self.collector:
            self.collector.require()
        with self.status(elapsed("reading the images of the registry", after=5.0)):
            plan = self._make_plan()
        if check_mode:
            images = [verdict.image for verdict in plan.unprotected]
            return PruneResult(plan.decision, images if self.collector else [])
        deletion = TagDeletion(self.registry, self.connections, plan.decision)
        if plan.decision.deleted:
            deletion.prepare()
        # Nodes must not get the names of images that are about to vanish.
        select = _going_names(plan.decision, collects=self.collector is not None)
        withdrawal = self.delivered.withdraw(select) if self.delivered else None
        result = PruneResult(plan.decision)
        try:
            with self.status(deletion.status):
                deletion.run()
            if deletion.deleted or not deletion.errors:
                self._restore(self._look_again(plan.inventory, plan.uses), deletion, result)
        except K8scrError as error:
            deletion.errors.append(error)
        result.decision = plan.decision.limited(deletion.deleted, deletion.reasons)
        result.errors += deletion.errors
        if self.collector and not result.errors:
            try:
                with self.status(elapsed("collecting garbage")):
                    result.collection = self.collector.collect(self.collect_timeout)
            except K8scrError as error:
                result.errors.append(error)
        if self.delivered and withdrawal:
            try:
                result.unlisted = self.delivered.settle(withdrawal)
            except K8scrError as error:
                result.errors.append(error)
        return result

    def _make_plan(self) -> PrunePlan:
        locked = sorted({(entry.repository, entry.digest) for entry in self.rules.locked})
        inventory = self._inventory(locked)
        for item in inventory.unreadable:
            if item.tag is None:
                raise item.error.replace(advice=item.error.advice or "Nothing was deleted; correct the repository")
        plan = self._look_again(inventory, ())
        self._require_rest(plan.decision)
        require_known(plan.decision)
        if self.collector:
            require_collectable(plan.inventory, plan.decision)
        return plan

    def _inventory(self, references: Sequence[tuple[str, str]], repositories: Sequence[str] | None = None) -> Inventory:
        return take_inventory(
            self.registry,
            self.connections,
            repositories=repositories,
            references=references,
            created=self.rules.need_times,
        )

    @staticmethod
    def _find_uses(find_uses: FindUses) -> tuple[ImageUse, ...]:
        """Return the images that workloads use.

        Raises:
            InputError: The user may not list all kinds of workloads.
        """
        uses, unseen = find_uses()
        if unseen:
            kinds = ", ".join(sorted(item.kind for item in unseen))
            raise InputError(
                f"images in use cannot be kept, because the workloads of these kinds cannot be listed: {kinds}:"
                f" {unseen[0].reason}",
                "Add the user to registry_usage_subjects of the role registry, which allows list on all kinds of"
                " workloads, or set keep_used to false if other rules keep all images in use",
            )
        return uses

    def _look_again(self, inventory: Inventory, known: tuple[ImageUse, ...]) -> PrunePlan:
        """Return the plan for an inventory and the current workloads, in addition to those that are known."""
        if self.find_uses is None:
            return PrunePlan(inventory, (), decide(inventory, self.rules))
        uses = tuple(dict.fromkeys((*known, *self._find_uses(self.find_uses))))
        inventory = with_used_images(inventory, uses, partial(self._inventory, repositories=()))
        used = dict(match_usage(uses, inventory).used)
        for image in broken_images(inventory):
            users = tuple(use for use in uses if tag_of(use, image))
            used.update({image.key: users} if users else {})
        return PrunePlan(inventory, uses, decide(inventory, replace(self.rules, used=used)))

    def _require_rest(self, decision: Decision) -> None:
        if decision.leaves_nothing(self.rules) and not self.allow_empty:
            raise InputError(
                "no rule keeps any image of the selected repositories, so all of them would be deleted (tags:"
                f" {len(decision.deleted)})",
                "Nothing was deleted. Check the rules, or set allow_empty to true to delete them all",
            )

    def _protect(self, plan: PrunePlan, result: PruneResult) -> None:
        """Add the collection's tag to images that stay.

        A full disk may have space for tags only after others were deleted. An image that keeps another tag does not
        prevent the collection if it is incomplete, so that registries reject its tag, or if the disk is still full.
        """
        if not self.collector:
            return
        for verdict in plan.unprotected:
            try:
                self._put_tag(verdict.image, digest_tag(verdict.image.root.digest))
                result.protected.append(verdict.image)
            except (MissingContentError, StorageFullError):
                if not verdict.kept:
                    raise

    def _put_tag(self, image: StoredImage, tag: str) -> None:
        repository = Repository(self.registry, image.repository)
        existing = repository.resolve(tag)
        if existing and existing.digest != image.root.digest:
            raise RegistryError(
                f"tag {tag} of {repository.description} cannot be set for {image.root.digest}, because"
                f" {existing.digest} has it",
                "Another client moved the tag; run again",
            )
        if existing is None:
            repository.publish(repository.fetch_manifest(image.root), tag)

    def _restore(self, plan: PrunePlan, deletion: TagDeletion, result: PruneResult) -> None:
        """Restore the deleted tags that workloads use by now, with their referrers, and protect new images."""
        for verdict in plan.decision.verdicts:
            for tag, reasons in verdict.kept.items():
                image = verdict.image.key, tag
                if image in deletion.deleted and verdict.digest:
                    try:
                        self._restore_tag(verdict.image, tag, reasons[0])
                        deletion.restored(image, reasons[0])
                    except K8scrError as error:
                        deletion.errors.append(error)
        if deletion.errors:
            return
        if self.collector:
            require_collectable(plan.inventory, plan.decision, "Garbage was not collected")
        self._protect(plan, result)

    def _restore_tag(self, image: StoredImage, tag: str, reason: str) -> None:
        try:
            self._put_tag(image, tag)
        except SourceError as error:
            name = target_name(image.repository, tag)
            raise SourceError(
                f"{name} was deleted, and it is {reason} since then", f"Push {name} again: {error.message}"
            ) from error
        except K8scrError as error:
            raise error.replace(
                f"{target_name(image.repository, tag)} was deleted, it is {reason} since then, and cannot be restored:"
                f" {error.message}"
            ) from error


def _going_names(decision: Decision, collects: bool) -> Callable[[tuple[str, str]], bool]:
    """Return a function that returns whether a prune deletes a repository's tag or digest.

    A garbage collection deletes each image without a tag that no image that stays lists.
    """
    tags = {(image[0], tag) for image, tag in decision.deleted}
    roots = {verdict.image.key for verdict in decision.verdicts if verdict.deleted and not verdict.stays}
    images = [verdict.image for verdict in decision.verdicts if verdict.stays]
    staying = {(image.repository, digest) for image in images for digest in image.digests}

    def is_going(name: tuple[str, str]) -> bool:
        if ":" not in name[1]:
            return name in tags
        return name not in staying and (collects or name in roots)

    return is_going
