# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which images of a registry the workloads of its cluster use.

The name of an image in a workload has the host of its upstream registry, or that of a mirror; nodes drop both. So an
image is looked up in two repositories: without the host, and with the host as its first component.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING

from ..errors import InputError
from ..oci.reference import Reference, is_repository, parse_workload_reference, target_name
from ..oci.referrers import cosign_tags, fallback_tag

if TYPE_CHECKING:
    from ..objects.workloads import ImageUse, Unseen
    from ..registry.inventory import ImageKey, Inventory, StoredImage


@dataclass(frozen=True)
class MissingUse:
    """An image that workloads use and that nodes cannot pull from the registry.

    Attributes:
        image: Its name as the workloads have it, which may be invalid; the original name of a rewritten image.
        reason: Why it cannot be pulled: it does not exist, it cannot be read, or its name is invalid.
        uses: The workloads, sorted.
        references: Each repository that may have it, with the tag or digest; empty if its name is invalid.
    """

    image: str
    reason: str
    uses: tuple[ImageUse, ...]
    references: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Usage:
    """The use of the images of a registry.

    Attributes:
        used: The uses of each used image by its key, sorted. Images that refer to a used image count as used.
        missing: The used images that the registry does not have, sorted by name.
        unseen: The kinds of workloads that the user may not list.
        named: The uses by each repository and tag or digest under which nodes pull images, whether these exist or not.
    """

    used: Mapping[ImageKey, tuple[ImageUse, ...]]
    missing: tuple[MissingUse, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    named: Mapping[tuple[str, str], tuple[ImageUse, ...]] = field(default_factory=dict)

    def users_of(self, image: StoredImage) -> tuple[ImageUse, ...]:
        """Return the uses of an image; empty if none is known."""
        return self.used.get(image.key, ())

    def unused(self, images: Iterable[StoredImage]) -> tuple[StoredImage, ...]:
        """Return the images that no workload uses; none while a kind is unseen, because it may use any of them."""
        return () if self.unseen else tuple(image for image in images if not self.users_of(image))


def with_used_images(
    inventory: Inventory,
    uses: Iterable[ImageUse],
    read: Callable[[Sequence[tuple[str, str]]], Inventory],
    select: Callable[[str], bool] | None = None,
) -> Inventory:
    """Return an inventory with the used images that are missing in it, if the registry has them.

    No registry lists images without a tag, so these are looked up by the digests that workloads use. Tags are looked up
    too, because the inventory may not have all repositories, and because images may have been pushed since.

    Args:
        uses: The uses of all workloads.
        read: Returns the inventory of some images, each with its repository and its tag or digest.
        select: Whether a repository is of interest, by default each one; names without such a repository are skipped.
    """
    references = _unlisted(inventory, uses, select)
    if not references:
        return inventory
    more = read(references)
    images = {image.key: image for image in inventory.images}
    for image in more.images:
        known = images.get(image.key)
        images[image.key] = replace(known, tags=tuple(sorted({*known.tags, *image.tags}))) if known else image
    return replace(
        inventory,
        images=tuple(sorted(images.values(), key=lambda image: image.repository)),
        unreadable=(*inventory.unreadable, *more.unreadable),
    )


def _unlisted(
    inventory: Inventory, uses: Iterable[ImageUse], select: Callable[[str], bool] | None
) -> list[tuple[str, str]]:
    """Return the repositories and the tags or digests of the used images that are missing in an inventory."""
    lookup = _Lookup(inventory)
    found: set[tuple[str, str]] = set()
    for image, group in groupby(sorted(uses, key=_name), key=_name):
        name = parsed_name(image)
        if isinstance(name, InputError) or not (select is None or any(map(select, repositories_of(name)))):
            continue
        digests = {use.digest for use in group if use.digest}
        for path, reference in _references(name):
            found.update((path, each) for each in {reference, *digests} if not lookup.knows(path, each))
    return sorted(found)


def match_usage(uses: Iterable[ImageUse], inventory: Inventory, unseen: tuple[Unseen, ...] = ()) -> Usage:
    """Return which images of an inventory are used, and which used images it does not have.

    Args:
        uses: The uses of all workloads.
        inventory: The images of the registry, including those of :func:`with_used_images`.
        unseen: The kinds of workloads that the user may not list.
    """
    lookup = _Lookup(inventory)
    used: dict[ImageKey, set[ImageUse]] = defaultdict(set)
    named: dict[tuple[str, str], set[ImageUse]] = defaultdict(set)
    missing: dict[str, MissingUse] = {}
    for image, group in groupby(sorted(uses, key=_name), key=_name):
        name, users = parsed_name(image), _sorted(group)
        if isinstance(name, InputError):
            missing[image] = MissingUse(image, name.message, users)
        else:
            references, keys = _references(name), lookup.named(name)
            for reference in references:
                named[reference].update(users)
            for key in keys:
                used[key].update(users)
            if not keys:
                _add_missing(missing, image, name, lookup, users)
        for use in users:
            for key in lookup.running(name, use.digest) if use.digest else ():
                used[key].add(use)
    lookup.add_referrers(used)
    return Usage(_all_sorted(used), tuple(each for _name, each in sorted(missing.items())), unseen, _all_sorted(named))


def _add_missing(
    missing: dict[str, MissingUse], image: str, name: Reference, lookup: _Lookup, users: Iterable[ImageUse]
) -> None:
    """Add a missing image under each name that its users know: its own, or the original one of rewritten Pods."""
    by_name: dict[str, list[ImageUse]] = defaultdict(list)
    for use in users:
        by_name[use.original or image].append(use)
    for shown, uses in by_name.items():
        known = missing.get(shown)
        if shown == image:
            references = _references(name)
            reason = lookup.reason(references)
        else:
            # Nodes pull the rewritten name, whose path has no second repository.
            references = _references(parse_workload_reference(shown))
            reason = known.reason if known else lookup.reason(_references(name)[:1])
        missing[shown] = MissingUse(shown, reason, _sorted([*(known.uses if known else ()), *uses]), references)


class _Lookup:
    """Finds the images of an inventory."""

    def __init__(self, inventory: Inventory) -> None:
        self._images: dict[ImageKey, StoredImage] = {}
        self._tagged: dict[tuple[str, str], ImageKey] = {}
        self._by_manifest: dict[str, list[ImageKey]] = defaultdict(list)
        self._by_config: dict[str, list[ImageKey]] = defaultdict(list)
        for image in inventory.images:
            key = image.key
            self._images[key] = image
            self._tagged.update(((image.repository, tag), key) for tag in image.tags)
            for digest in image.digests:
                self._by_manifest[digest].append(key)
            for manifest in image.manifests:
                if manifest.blobs:
                    self._by_config[manifest.blobs[0].digest].append(key)
        self._unreadable = {(item.repository, item.tag): item.error.message for item in inventory.unreadable}

    def knows(self, repository: str, reference: str) -> bool:
        """Return whether a tag was found or is unreadable, or a manifest or a config with a digest was found."""
        return (
            (repository, reference) in self._tagged
            or (repository, reference) in self._unreadable
            or any(key[0] == repository for key in self._with_digest(reference))
        )

    def named(self, name: Reference) -> list[ImageKey]:
        """Return the images that a node pulls by this name."""
        if name.digest:
            paths = repositories_of(name)
            return [key for key in self._by_manifest.get(name.digest, ()) if key[0] in paths]
        return [self._tagged[reference] for reference in _references(name) if reference in self._tagged]

    def running(self, name: Reference | InputError, digest: str) -> list[ImageKey]:
        """Return the images that a container runtime reports by a digest.

        A runtime may report the name of any image with the same content. So if none of the name's repositories has the
        digest, it is that of an image in another repository. An invalid name was valid when the container started.
        """
        paths = () if isinstance(name, InputError) else repositories_of(name)
        keys = self._with_digest(digest)
        return [key for key in keys if key[0] in paths] or keys

    def reason(self, references: tuple[tuple[str, str], ...]) -> str:
        """Return why the registry does not have an image."""
        for path, reference in references:
            error = self._unreadable.get((path, reference)) or self._unreadable.get((path, None))
            if error:
                return error
        return "the registry does not have " + " or ".join(target_name(*reference) for reference in references)

    def add_referrers(self, used: dict[ImageKey, set[ImageUse]]) -> None:
        """Add to ``used`` the images that refer to a used image, and those that refer to them."""
        changed = list(used)
        while changed:
            key = changed.pop()
            for referrer in self._referrers(key):
                if not used[key] <= used[referrer]:
                    used[referrer] |= used[key]
                    changed.append(referrer)

    def _with_digest(self, digest: str) -> list[ImageKey]:
        return [*self._by_manifest.get(digest, ()), *self._by_config.get(digest, ())]

    def _referrers(self, key: ImageKey) -> Iterator[ImageKey]:
        image = self._images[key]
        for digest in image.digests:
            for tag in (fallback_tag(digest), *cosign_tags(digest)):
                found = self._tagged.get((image.repository, tag))
                if found:
                    yield found
        for referrer in image.referrers:
            if (image.repository, referrer.descriptor.digest) in self._images:
                yield image.repository, referrer.descriptor.digest


def _name(use: ImageUse) -> str:
    return use.image


def _order(use: ImageUse) -> tuple[str, ...]:
    return use.kind, use.namespace, use.name, use.image, use.digest or "", use.original or ""


def _sorted(uses: Iterable[ImageUse]) -> tuple[ImageUse, ...]:
    return tuple(sorted(uses, key=_order))


def _all_sorted(uses: Mapping[tuple[str, str], Iterable[ImageUse]]) -> dict[tuple[str, str], tuple[ImageUse, ...]]:
    return {key: _sorted(found) for key, found in uses.items()}


def parsed_name(image: str) -> Reference | InputError:
    """Return the name of an image in a workload, or the error if it is invalid."""
    try:
        return parse_workload_reference(image)
    except InputError as error:
        return error


def repositories_of(name: Reference) -> tuple[str, ...]:
    """Return the repositories of a name without and with its host, which may be too long."""
    return tuple(path for path in (name.repository(), name.repository(qualify=True)) if is_repository(path))


def _references(name: Reference) -> tuple[tuple[str, str], ...]:
    """Return each repository of a name with the tag or digest; with both, a node uses only the digest."""
    return tuple((path, name.digest or name.tag or "") for path in repositories_of(name))
