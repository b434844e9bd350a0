# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the tags and the images of a registry with concurrent requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TypeVar

from ..errors import (
    InputError,
    K8scrError,
    MissingCatalogError,
    MissingManifestError,
    RegistryError,
    SourceError,
    WrongPathError,
)
from ..oci.descriptor import Descriptor
from ..oci.graph import MAXIMUM_DEPTH
from ..oci.manifest import parse_manifest
from ..oci.reference import is_repository, is_tag
from .client import Registry
from .features import is_distribution
from .image_reader import ImageReader, is_about_content
from .inventory import Inventory, StoredImage, Unreadable, Verify
from .listing import repositories as list_repositories
from .listing import tags as list_tags
from .repository import Repository

_AT_ONCE = 1000
"""Calls that are queued at once; each takes about 1 KiB."""
_MOST_IMAGES = 200_000
"""Tags of all repositories together, and images."""
_MOST_BLOBS = 2_000_000
"""Blobs of all images together; most are shared, so that each takes 8 bytes."""
_MOST_TEXT = 64 << 20
"""Characters of the labels and annotations of all images together."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Scope:
    """What to read of each image; see :func:`take_inventory`."""

    configs: bool
    details: bool
    referrers: bool
    verify: Verify


@dataclass
class _Found:
    """A root manifest with its tags; ``requested`` is false for other images of a requested image's repository."""

    repository: str
    root: Descriptor
    tags: list[str] = field(default_factory=list)
    requested: bool = False


class InventoryReader:
    """Reads the images of a registry. As a context manager, it ends its threads."""

    def __init__(self, registry: Registry, connections: int, scope: Scope) -> None:
        self._registry = registry
        self._scope = scope
        self._images = ImageReader(registry, scope.configs, scope.details)
        self._workers = ThreadPoolExecutor(connections)
        self._found: dict[tuple[str, str], _Found] = {}
        self._tags: dict[str, dict[str, Descriptor]] = {}
        """The descriptors of all tags, by repository. An empty list may be that of a registry without lists."""
        self._early: dict[tuple[str, str], StoredImage | None] = {}
        """The images that were read together with a tag; ``None`` while a thread reads one."""
        self._unreadable: list[Unreadable] = []
        self._listed = self._blobs = self._text = 0
        self._lock = threading.Lock()
        self._reads_by_tag = False

    def __enter__(self) -> InventoryReader:
        return self

    def __exit__(self, *_error: object) -> None:
        self._workers.shutdown(cancel_futures=True)

    def read(
        self,
        repositories: Sequence[str] | None,
        select: Callable[[str], bool] | None,
        references: Iterable[tuple[str, str]],
        aliases: bool,
    ) -> Inventory:
        """Return the inventory; see :func:`take_inventory`."""
        # Others may have an image by its tag that they do not have by its digest. Nodes pull by the digest.
        self._reads_by_tag = self._scope.verify is not Verify.NONE and is_distribution(self._registry)
        names = sorted(set(self._catalog(select) if repositories is None else repositories))
        self._resolve_tags(names, requested=True)
        absent = self._look_up(list(dict.fromkeys(references)), aliases)
        found = [each for each in self._found.values() if each.requested]
        images = list(self._map(self._read_image, found))
        if self._scope.referrers:
            images = self._with_referrers(images)
        if self._scope.verify in (Verify.BLOBS, Verify.CONTENT):
            from .blob_check import BlobCheck

            check = BlobCheck(self._registry, self._scope.verify is Verify.CONTENT)
            images = check.run(images, self._map)
        return Inventory(tuple(names), tuple(images), tuple(absent), tuple(self._unreadable))

    def _catalog(self, select: Callable[[str], bool] | None) -> list[str]:
        try:
            return [name for name in list_repositories(self._registry) if select is None or select(name)]
        except RegistryError as error:
            if error.transient or isinstance(error, WrongPathError):
                raise
            raise MissingCatalogError(error.message, error.advice, error.status, error.codes) from error

    def _resolve_tags(self, names: Iterable[str], requested: bool) -> None:
        """Find the images of all tags of repositories."""
        pairs = ((name, tag) for name, tags in self._map(self._list_tags, names) for tag in tags)
        resolve = self._resolve_and_read if requested else self._resolve
        for (name, tag), result in self._paired(resolve, pairs):
            if isinstance(result, Descriptor):
                self._tags[name][tag] = result
                self._add(name, result, tag, requested)
            elif requested:
                error = result or MissingManifestError(
                    f"repository {name} in {self._registry.description} lists the tag {tag}, and has no image for it",
                    "Push the image again, or delete the tag",
                )
                self._unreadable.append(Unreadable(name, tag, error))

    def _add(self, name: str, root: Descriptor, tag: str | None, requested: bool) -> None:
        found = self._found.setdefault((name, root.digest), _Found(name, root))
        found.requested = found.requested or requested
        if tag and tag not in found.tags[-1:]:
            found.tags.append(tag)

    def _list_tags(self, name: str) -> tuple[str, list[str]]:
        """Return the valid tags of a repository; those that cannot be listed become unreadable."""
        try:
            if not is_repository(name):
                raise RegistryError(f"{self._registry.description} lists {name!r:.300}, which is not a repository")
            tags = list(list_tags(self._registry, name))
        except K8scrError as error:
            if not is_about_content(error, self._registry):
                raise
            self._unreadable.append(Unreadable(name, None, error))
            return name, []
        with self._lock:
            # Threads list the tags of many repositories before these are looked up.
            self._listed += len(tags)
            if self._listed > _MOST_IMAGES:
                raise self._too_large(f"{_MOST_IMAGES} tags")
        if tags:
            self._tags[name] = {}
        invalid = next((tag for tag in tags if not is_tag(tag)), None)
        if invalid is not None:
            reason = RegistryError(f"{self._registry.description} lists {invalid!r:.300}, which is not a tag")
            self._unreadable.append(Unreadable(name, None, reason))
        return name, sorted(filter(is_tag, tags))

    def _resolve(self, image: tuple[str, str]) -> Descriptor | K8scrError | None:
        name, reference = image
        try:
            return Repository(self._registry, name).resolve(reference)
        except K8scrError as error:
            if not is_about_content(error, self._registry):
                raise
            return error

    def _resolve_and_read(self, image: tuple[str, str]) -> Descriptor | K8scrError | None:
        """Resolve a tag. If manifests are read, distribution returns the image's root with the same request.

        A tag without a readable image is resolved again, for an error with the reason.
        """
        name, reference = image
        if not self._reads_by_tag or ":" in reference:
            return self._resolve(image)
        manifest = Repository(self._registry, name).fetch_tagged(reference)
        if manifest is None:
            return self._resolve(image)
        root = manifest.descriptor
        with self._lock:
            is_new = (name, root.digest) not in self._early
            if is_new:
                self._early[name, root.digest] = None
        if is_new:
            read = self._images.read(StoredImage(name, root), manifest)
            with self._lock:
                self._count(read)
            self._early[name, root.digest] = read
        return root

    def _look_up(self, references: list[tuple[str, str]], aliases: bool) -> list[tuple[str, str]]:
        """Find the requested images, and return those that do not exist."""
        absent = []
        if aliases:
            known = len(self._unreadable)
            self._resolve_tags([name for name in dict(references) if name not in self._tags], requested=False)
            # A list that cannot be read hides only the other tags of the requested images.
            del self._unreadable[known:]
        broken = {(each.repository, each.tag) for each in self._unreadable}
        references = [each for each in references if each not in broken]
        for (name, reference), result in self._paired(self._resolve_and_read, references):
            if isinstance(result, Descriptor):
                self._add(name, result, None if ":" in reference else reference, requested=True)
            elif result and not (":" in reference and self._is_blob(name, reference)):
                self._unreadable.append(Unreadable(name, reference, result))
            else:
                absent.append((name, reference))
        return absent

    def _is_blob(self, name: str, digest: str) -> bool:
        """Return whether a digest is that of a config or a layer.

        Container runtimes report the digests of configs. distribution 2.8 looks these up as manifests and fails.
        """
        failure = f"blob {digest} cannot be read"
        try:
            found = self._registry.request_with_retries("GET", f"/v2/{name}/blobs/{digest}", failure, (200,))
            parse_manifest(found.content)
        except InputError:
            return True
        except K8scrError as error:
            if not is_about_content(error, self._registry):
                raise
        return False

    def _read_image(self, found: _Found) -> StoredImage:
        tags = tuple(sorted(set(found.tags)))
        early = self._early.get((found.repository, found.root.digest))
        if early is not None:
            return replace(early, tags=tags)
        image = StoredImage(found.repository, found.root, tags)
        if self._scope.verify is Verify.NONE:
            return image
        image = self._images.read(image)
        with self._lock:
            self._count(image)
        return image

    def _with_referrers(self, images: list[StoredImage]) -> list[StoredImage]:
        """Return the images with their referrers, and with the referrers that are found only there."""
        from .inventory_referrers import ReferrerFinder

        finder = ReferrerFinder(self._registry, self._tags)
        known: set[tuple[str, str]] = set()
        done: list[StoredImage] = []
        for _level in range(MAXIMUM_DEPTH):
            known.update(image.key for image in images)
            known.update((image.repository, each.descriptor.digest) for image in images for each in image.manifests)
            found = list(self._map(finder.find, images))
            done += found
            new: dict[tuple[str, str], _Found] = {}
            for image in found:
                for referrer in image.referrers:
                    key = image.repository, referrer.descriptor.digest
                    if key not in known:
                        tags = [referrer.tag] if referrer.tag else []
                        new.setdefault(key, _Found(image.repository, referrer.descriptor, tags))
            if not new:
                return done
            images = list(self._map(self._read_image, new.values()))
            if len(done) + len(images) > _MOST_IMAGES:
                raise self._too_large(f"{_MOST_IMAGES} images")
        deep = SourceError(
            f"{self._registry.description} has more than {MAXIMUM_DEPTH} levels of referrers",
            "Those of this one are not listed",
        )
        return done + [replace(image, error=image.error or deep) for image in images]

    def _count(self, image: StoredImage) -> None:
        """Count the content of an image, and raise an error if all images would take too much memory together."""
        self._blobs += sum(len(manifest.blobs) for manifest in image.manifests)
        self._text += sum(len(text) for pair in (*image.annotations.items(), *image.labels.items()) for text in pair)
        if self._blobs > _MOST_BLOBS:
            raise self._too_large(f"{_MOST_BLOBS} blobs")
        if self._text > _MOST_TEXT:
            raise self._too_large(f"{_MOST_TEXT} characters of labels and annotations")

    def _too_large(self, what: str) -> RegistryError:
        return RegistryError(f"{self._registry.description} has more than {what}", "Select fewer repositories")

    def _paired(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[tuple[_Item, _Result]]:
        return self._map(partial(_with_argument, function), items)

    def _map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Yield the results of a function in order; the calls are concurrent."""
        iterator = iter(items)
        while batch := list(islice(iterator, _AT_ONCE)):
            yield from self._workers.map(function, batch)


def take_inventory(
    registry: Registry,
    connections: int,
    *,
    repositories: Sequence[str] | None = None,
    select: Callable[[str], bool] | None = None,
    references: Iterable[tuple[str, str]] = (),
    aliases: bool = False,
    created: bool = False,
    details: bool = False,
    referrers: bool = False,
    verify: Verify = Verify.MANIFESTS,
) -> Inventory:
    """Read which images a registry has. Only GET and HEAD requests are sent.

    A repository, tag or manifest that cannot be read does not end the inventory, but becomes an entry with its error.

    Args:
        connections: The maximum number of concurrent requests.
        repositories: The repositories whose tags are listed; by default, all in the registry's catalog.
        select: Whether to list the tags of a repository of the catalog; by default, of all.
        references: More images, each with its repository and its tag or digest, whose repositories are not listed.
        aliases: Whether to look up all tags of the repositories of ``references``, to find those of the same images.
        created: Whether to read the configs of the images, for the time of creation and the platform.
        details: Whether to read labels and annotations too.
        referrers: Whether to find the artifacts that refer to each image. Those without a tag become images as well.
        verify: How thoroughly the images are verified.

    Raises:
        MissingCatalogError: ``repositories`` is missing, and the registry does not have a catalog.
        K8scrError: The registry cannot be reached, or has more content than the limits.
    """
    scope = Scope(created or details, details, referrers, verify)
    with InventoryReader(registry, connections, scope) as reader:
        return reader.read(repositories, select, references, aliases)


def _with_argument(function: Callable[[_Item], _Result], item: _Item) -> tuple[_Item, _Result]:
    return item, function(item)
