# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Delete the tags of a decision.

A registry that deletes tags by name, such as distribution 3, keeps the manifests until the next garbage collection. So
tags can be restored, and an image that is pushed again meanwhile is complete. distribution 2.8 deletes by digest, and
its garbage collector keeps manifests without tags. There, images are deleted with their manifests, the root last: after
an interruption, the next run finds its tags and continues.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from ..errors import K8scrError, MissingManifestError
from ..registry.deletion import Deletion, delete_manifest, delete_tag, deletes_by_tag, require_deletion
from ..registry.inventory_reader import take_inventory
from ..registry.listing import tags as list_tags
from ..registry.repository import Repository
from .texts import counted

if TYPE_CHECKING:
    from ..registry.client import Registry
    from ..registry.inventory import ImageKey, StoredImage
    from .retention import Decision
    from .retention_marks import Verdict

_MOVED = "its tag was moved to another image meanwhile"
_PUSHED = "the image got another tag meanwhile"
_UNREADABLE = "another image of the repository cannot be read, and may list it"
_NEW_IMAGES = "images were pushed to the repository meanwhile, to one of which it may refer"


@dataclass
class TagDeletion:
    """Deletes tags with concurrent requests, until the first error.

    Attributes:
        deleted: The deleted tags, each with its image.
        reasons: Why other tags of the decision were not deleted.
        errors: The errors.
    """

    registry: Registry
    connections: int
    decision: Decision
    deleted: set[tuple[ImageKey, str]] = field(default_factory=set)
    reasons: dict[tuple[ImageKey, str], str] = field(default_factory=dict)
    errors: list[K8scrError] = field(default_factory=list)
    _by_tag: bool = True

    def prepare(self) -> None:
        """Check that the registry allows deletion, before the first change.

        Raises:
            ApiServerError: The user may not delete.
            RegistryError: The registry does not allow deletion.
        """
        repository = Repository(self.registry, self.decision.deleted[0][0][0])
        require_deletion(repository)
        self._by_tag = deletes_by_tag(repository)

    def run(self) -> None:
        """Delete the tags; those of referrers after those of their subjects. Errors become a part of the result."""
        going = [verdict for verdict in self.decision.verdicts if verdict.deleted]
        skipped = self._uncertain(going)
        whole = [] if self._by_tag else [verdict for verdict in going if not verdict.stays and verdict.digest]
        partly = [verdict for verdict in going if verdict not in whole]
        # Only the deletion of single tags may need space on a full disk, for placeholders.
        if whole:
            self._delete_images([verdict for verdict in whole if not skipped.intersection(_tags_of(verdict))])
        for is_referrer in (False, True):
            self._run_all(
                partial(self._delete_tag, verdict, tag)
                for verdict in partly
                for tag in verdict.deleted
                if (tag in verdict.referrers) is is_referrer and (verdict.image.key, tag) not in skipped
            )

    def status(self) -> str | None:
        """Return the number of deleted tags for the user; ``None`` if there is nothing to delete."""
        total = len(self.decision.deleted)
        return f"deleted {len(self.deleted)} of {counted(total, 'tag')}" if total else None

    def restored(self, tag: tuple[ImageKey, str], reason: str) -> None:
        """Note that a deleted tag exists again."""
        self.deleted.discard(tag)
        self.reasons[tag] = reason

    def _uncertain(self, going: Iterable[Verdict]) -> set[tuple[ImageKey, str]]:
        """Return the tags of referrers whose subject may have been pushed since the inventory."""
        orphans: dict[str, list[tuple[ImageKey, str]]] = defaultdict(list)
        for verdict in going:
            for tag in verdict.orphans:
                orphans[verdict.image.repository].append((verdict.image.key, tag))
        known: dict[str, set[str]] = defaultdict(set)
        for verdict in self.decision.verdicts:
            known[verdict.image.repository].update(verdict.image.tags)
        for repository, found in orphans.items():
            if set(list_tags(self.registry, repository)) - known[repository]:
                self.reasons.update(dict.fromkeys(found, _NEW_IMAGES))
        return set(self.reasons)

    def _run_all(self, calls: Iterable[Callable[[], None]]) -> None:
        if self.errors:
            return
        with ThreadPoolExecutor(self.connections) as workers:
            for future in as_completed([workers.submit(call) for call in calls]):
                try:
                    future.result()
                except K8scrError as error:
                    self.errors.append(error)
                    workers.shutdown(wait=False, cancel_futures=True)
                    break

    def _delete_tag(self, verdict: Verdict, tag: str) -> None:
        others = [other for other in verdict.image.tags if other in verdict.kept]
        repository, name = Repository(self.registry, verdict.image.repository), (verdict.image.key, tag)
        note = partial(self.deleted.add, name)
        if delete_tag(repository, tag, verdict.digest, others, on_deleted=note) is Deletion.MOVED:
            self.reasons[name] = _MOVED
        else:
            self.deleted.add(name)

    @cached_property
    def _before(self) -> Mapping[tuple[str, str], ImageKey]:
        """The images of the tags to delete, by repository and tag."""
        return {(image[0], tag): image for image, tag in self.decision.deleted}

    def _delete_images(self, whole: list[Verdict]) -> None:
        """Delete images with their manifests, except for manifests that other images have."""
        names = sorted({verdict.image.repository for verdict in whole})
        going = {verdict.image.key: verdict for verdict in whole}
        needed: dict[str, set[str]] = defaultdict(set)
        inventory = take_inventory(self.registry, self.connections, repositories=names)
        staying = [verdict.image for verdict in self.decision.verdicts if verdict.image.key not in going]
        for image in inventory.images:
            deleted = going.get(image.key)
            if deleted is None or set(image.tags) - set(deleted.deleted):
                staying.append(image)
            for tag in image.tags:
                self._note_moved(image, tag)
        unreadable = {
            item.repository for item in inventory.unreadable if not isinstance(item.error, MissingManifestError)
        }
        for image in staying:
            needed[image.repository] |= image.digests
            if image.error and not isinstance(image.error, MissingManifestError):
                unreadable.add(image.repository)
        for verdict in whole:
            if verdict.image.repository in unreadable:
                self.reasons.update(dict.fromkeys(_tags_of(verdict), _UNREADABLE))
        self._run_all(
            partial(self._delete_image, verdict, needed[verdict.image.repository])
            for verdict in whole
            if verdict.image.repository not in unreadable and not self._is_needed(verdict, needed)
        )

    def _is_needed(self, verdict: Verdict, needed: Mapping[str, set[str]]) -> bool:
        """Return whether another image lists an image by now, or whether the image has a new tag."""
        if verdict.image.root.digest not in needed[verdict.image.repository]:
            return False
        for tag in _tags_of(verdict):
            self.reasons.setdefault(tag, _PUSHED)
        return True

    def _note_moved(self, image: StoredImage, tag: str) -> None:
        """Note that a tag to delete has another image by now."""
        before = self._before.get((image.repository, tag))
        if before and before != image.key:
            self.reasons[before, tag] = _MOVED

    def _delete_image(self, verdict: Verdict, needed: set[str]) -> None:
        image = verdict.image
        repository = Repository(self.registry, image.repository)
        for digest in sorted(image.digests - needed - {image.root.digest}):
            delete_manifest(repository, digest)
        tags = [tag for tag in _tags_of(verdict) if tag not in self.reasons]
        names = [name for _image, name in tags]
        delete_manifest(repository, image.root.digest, names, partial(self.deleted.update, tags))


def _tags_of(verdict: Verdict) -> list[tuple[ImageKey, str]]:
    return [(verdict.image.key, tag) for tag in verdict.deleted]
