# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tags of a registry that stay, with the reasons: the rules of ``k8scr_prune``, without requests.

Each rule keeps tags, and a tag stays if any rule keeps it. So more rules never keep less. A rule about content, such as
the digest of a running container, keeps all tags of the image. An image stays as long as one of its tags stays, or an
index that lists it; an image without tags stays if a rule keeps its digest. The rules by age and number do not apply to
referrers, whose tags and times do not show their use: a referrer stays with its subject.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..errors import InputError
from ..oci.timestamp import parse_timestamp
from ..oci.version_tag import parse_version
from ..registry.inventory import ImageKey, Inventory, StoredImage
from .retention_marks import Marks, Verdict
from .usage import parsed_name, repositories_of

if TYPE_CHECKING:
    from ..objects.workloads import ImageUse

_MOST_USES = 3
"""Workloads in one reason."""
_EVERYTHING = "*"
_NOT_REACHED = "not deleted, because the task failed before"


@dataclass(frozen=True)
class LockedImage:
    """An entry of a lock file, which locks both the name and the content.

    Attributes:
        tag: None for a name with a digest.
        digest: The digest of the manifest, of the index or of the config.
    """

    file: str
    repository: str
    tag: str | None
    digest: str


@dataclass(frozen=True)
class Rules:
    """The rules of one task; a rule that is not set keeps nothing.

    Attributes:
        repositories: Shell patterns of the repositories whose images may be deleted.
        used: The workloads that use each image.
        locked: The entries of all lock files.
        last: The number of newest versions, and of newest images without a version, to keep in each repository.
        younger: The age in seconds up to which images stay, by their time of creation.
        age: ``younger`` as the user wrote it, for reasons.
        now: The current time in seconds since 1970.
        patterns: Shell patterns of repositories, and of names such as ``team/api:1.2``.
    """

    repositories: tuple[str, ...] = (_EVERYTHING,)
    used: Mapping[ImageKey, tuple[ImageUse, ...]] | None = None
    locked: tuple[LockedImage, ...] = ()
    last: int | None = None
    younger: float | None = None
    age: str = ""
    now: float = 0.0
    patterns: tuple[str, ...] = ()

    @property
    def need_times(self) -> bool:
        """Whether the rules need the times of creation."""
        return self.last is not None or self.younger is not None

    def selects(self, repository: str) -> bool:
        """Return whether images of a repository may be deleted."""
        return any(fnmatchcase(repository, pattern) for pattern in self.repositories)


@dataclass(frozen=True)
class Decision:
    """The decisions about all images of a registry.

    Attributes:
        unmatched: The patterns of the rules that match no image.
    """

    verdicts: tuple[Verdict, ...]
    unmatched: tuple[str, ...] = ()

    @property
    def reclaimed(self) -> int:
        """Bytes of the manifests and blobs that only deleted images have, each counted once."""
        images = tuple(verdict.image for verdict in self.verdicts)
        kept = tuple(verdict.image for verdict in self.verdicts if verdict.stays)
        return Inventory(images=images).bytes - Inventory(images=kept).bytes

    @property
    def deleted(self) -> tuple[tuple[ImageKey, str], ...]:
        """The tags to delete, each with its image; those of referrers follow those of their subjects."""
        found = [(verdict, tag) for verdict in self.verdicts for tag in verdict.deleted]
        found.sort(key=lambda item: item[1] in item[0].referrers)
        return tuple((verdict.image.key, tag) for verdict, tag in found)

    def limited(
        self, deleted: Collection[tuple[ImageKey, str]], reasons: Mapping[tuple[ImageKey, str], str]
    ) -> Decision:
        """Return the decisions with only the tags that were deleted; the other tags to delete stay.

        Args:
            deleted: The deleted tags.
            reasons: Why the others were not deleted.
        """
        return replace(self, verdicts=tuple(self._limited(verdict, deleted, reasons) for verdict in self.verdicts))

    def _limited(
        self, verdict: Verdict, deleted: Collection[tuple[ImageKey, str]], reasons: Mapping[tuple[ImageKey, str], str]
    ) -> Verdict:
        key = verdict.image.key
        stay = {tag: (reasons.get((key, tag), _NOT_REACHED),) for tag in verdict.deleted if (key, tag) not in deleted}
        gone = tuple(tag for tag in verdict.deleted if tag not in stay)
        return replace(verdict, kept={**verdict.kept, **stay}, deleted=gone)

    def leaves_nothing(self, rules: Rules) -> bool:
        """Return whether tags are deleted, and no rule keeps an image of the selected repositories."""
        return bool(self.deleted) and not any(
            (verdict.kept or verdict.reasons) and rules.selects(verdict.image.repository) for verdict in self.verdicts
        )


def decide(inventory: Inventory, rules: Rules) -> Decision:
    """Decide about each tag of a registry.

    Args:
        inventory: All images of the registry, also those of repositories that are not selected, because they may have
            the same blobs. The manifests must have been read, and the times of creation if the rules need them.
    """
    marks = Marks(inventory)
    for image in marks.images.values():
        if not rules.selects(image.repository):
            marks.keep_all(image, "not in the selected repositories")
    matched = set(_keep_named(marks, rules.patterns))
    _keep_locked(marks, rules.locked)
    _keep_used(marks, rules.used or {})
    _keep_younger(marks, rules)
    if rules.last is not None:
        _keep_last(marks, rules.last)
    marks.follow_subjects()
    verdicts = tuple(marks.verdict(image) for image in marks.images.values())
    return Decision(verdicts, tuple(pattern for pattern in rules.patterns if pattern not in matched))


def _keep_named(marks: Marks, patterns: Iterable[str]) -> Iterator[str]:
    """Keep the tags that match patterns, and yield these patterns."""
    for pattern in patterns:
        for image in marks.images.values():
            whole = fnmatchcase(image.repository, pattern)
            for tag in image.tags or ("",):
                if whole or (tag and fnmatchcase(f"{image.repository}:{tag}", pattern)):
                    marks.keep(image, tag, f"matches {pattern}")
                    yield pattern


def _keep_locked(marks: Marks, locked: Iterable[LockedImage]) -> None:
    """Keep the tags in lock files. If a tag has another image now, the locked image stays too, with its own tags."""
    for entry in locked:
        named = marks.tagged.get((entry.repository, entry.tag)) if entry.tag else None
        if named and entry.tag:
            marks.keep(named, entry.tag, f"in the lock file {entry.file}")
        holding = marks.holding(entry.repository, entry.digest)
        if named not in holding:
            for image in holding:
                marks.keep_all(image, f"its digest is in the lock file {entry.file}")


def _keep_used(marks: Marks, used: Mapping[ImageKey, tuple[ImageUse, ...]]) -> None:
    """Keep the tags that workloads use, and all tags of images that they use by digest."""
    for key, uses in used.items():
        image = marks.images.get(key)
        if image is None:
            continue
        # Referrers count as used if their subject is. They follow it, and stay without it only if used themselves.
        is_referrer = marks.is_referrer(image)
        by_tag: dict[str, list[ImageUse]] = defaultdict(list)
        for use in uses:
            if is_referrer and not _names(use, image, marks):
                continue
            tag = tag_of(use, image)
            for each in [tag] if tag else image.tags or ("",):
                by_tag[each].append(use)
        for each, users in by_tag.items():
            marks.keep(image, each, _used_by(users))


def tag_of(use: ImageUse, image: StoredImage) -> str | None:
    """Return the tag by which a workload uses an image; ``None`` if it uses the image by its digest."""
    name = parsed_name(use.image)
    if isinstance(name, InputError):
        return None
    return name.tag if image.repository in repositories_of(name) and name.tag in image.tags else None


def _names(use: ImageUse, image: StoredImage, marks: Marks) -> bool:
    """Return whether a workload names an image by its tag, or by the digest of one of its manifests or configs."""
    name = parsed_name(use.image)
    digests = filter(None, (None if isinstance(name, InputError) else name.digest, use.digest))
    return bool(tag_of(use, image)) or any(image in marks.holding(image.repository, digest) for digest in digests)


def _used_by(uses: Iterable[ImageUse]) -> str:
    names = list(dict.fromkeys(map(_describe, uses)))
    more = f" and {len(names) - _MOST_USES} more" if len(names) > _MOST_USES else ""
    return f"used by {', '.join(names[:_MOST_USES])}{more}"


def _describe(use: ImageUse) -> str:
    return f"{use.kind} {use.namespace}/{use.name}{' (for rollbacks)' if use.rollback else ''}"


def _keep_younger(marks: Marks, rules: Rules) -> None:
    if rules.younger is None:
        return
    for image in marks.images.values():
        if marks.is_referrer(image):
            continue
        created = _created(image)
        if created is None:
            marks.keep_all(image, "its time of creation is unknown")
        elif created > rules.now - rules.younger:
            marks.keep_all(image, f"created {image.created}, less than {rules.age} ago")


def _keep_last(marks: Marks, last: int) -> None:
    """Keep the highest versions of each form in each repository, and the newest of the images without versions."""
    repositories: dict[str, list[StoredImage]] = defaultdict(list)
    for image in marks.images.values():
        if marks.names(image):
            repositories[image.repository].append(image)
    for images in repositories.values():
        _keep_last_of_repository(marks, images, last)


def _keep_last_of_repository(marks: Marks, images: Iterable[StoredImage], last: int) -> None:
    forms: dict[str, dict[tuple[tuple[int, ...], tuple[int, ...]], list[StoredImage]]] = defaultdict(dict)
    times: list[tuple[float, StoredImage]] = []
    for image in images:
        highest: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        for version in filter(None, map(parse_version, marks.names(image))):
            # Moving tags such as 1 and 1.2 are other names of the image with 1.2.3.
            highest[version.form] = max(version.order, highest.get(version.form, version.order))
        for form, order in highest.items():
            forms[form].setdefault(order, []).append(image)
        created = _created(image)
        if not highest and created is None:
            marks.keep_all(image, "its tags are not versions, and its time of creation is unknown")
        elif not highest and created is not None:
            times.append((created, image))
    for form, found in forms.items():
        suffix = f" with the suffix {form}" if form else ""
        for order in sorted(found, reverse=True)[:last]:
            for image in found[order]:
                marks.keep_all(image, f"one of the last {last} versions{suffix}")
    # Images with the same time have no order, so all of them stay.
    oldest = sorted((created for created, _image in times), reverse=True)[:last][-1:]
    for created, image in times:
        if created >= oldest[0]:
            marks.keep_all(image, f"one of the last {last} images without a version")


def _created(image: StoredImage) -> float | None:
    return parse_timestamp(image.created) if image.created else None
