# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tags and indexes of a repository that refer to a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ..errors import DigestMismatchError, MissingManifestError, RegistryError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.graph import MAXIMUM_DEPTH, BoundedSource
from ..oci.manifest import is_index
from .deletion import resolve_readable
from .error_responses import error_of, read_errors
from .listing import tags
from .repository import Repository

_Name = TypeVar("_Name")
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class References:
    """The tags and indexes that refer to a manifest in its repository.

    Attributes:
        tags: The tags of the manifest, sorted.
        indexes: Other tags, sorted, whose indexes list the manifest, directly or in a nested index.
    """

    tags: tuple[str, ...]
    indexes: tuple[str, ...]


def find_references(repository: Repository, digest: str, connections: int) -> References:
    """Find the tags and indexes that refer to a manifest, with one request for each tag of the repository.

    Untagged indexes are not found, because no registry lists them.

    Args:
        connections: The maximum number of concurrent requests.

    Raises:
        K8scrError: The registry does not list its tags, or returned another error response.
    """
    names = tuple(tags(repository.store, repository.repository))
    if not names:
        _require_list(repository)
    found = _map(partial(resolve_readable, repository), names, connections)
    of_digest = dict[str, list[str]]()
    indexes = dict[str, Descriptor]()
    for name, descriptor in zip(names, found):
        if descriptor:
            of_digest.setdefault(descriptor.digest, []).append(name)
            if is_index(descriptor.media_type) and descriptor.digest != digest:
                indexes[descriptor.digest] = descriptor

    def lists(index: Descriptor) -> bool:
        try:
            return _lists(BoundedSource(repository), index, digest, 0)
        except SourceError as error:
            tag = of_digest[index.digest][0]
            raise SourceError(
                f"the index with the tag {tag}, which may refer to {digest}, cannot be read: {error.message}",
                "Delete that tag, or push its image again",
            ) from error

    matches = _map(lists, indexes.values(), connections)
    referring = [name for index, match in zip(indexes, matches) if match for name in of_digest[index]]
    return References(tuple(sorted(of_digest.get(digest, ()))), tuple(sorted(referring)))


def _map(function: Callable[[_Name], _Found], values: Iterable[_Name], connections: int) -> list[_Found]:
    with ThreadPoolExecutor(connections) as workers:
        try:
            return list(workers.map(function, values))
        finally:
            # After an error, start nothing more.
            workers.shutdown(wait=False, cancel_futures=True)


def _lists(source: BoundedSource, index: Descriptor, digest: str, depth: int) -> bool:
    try:
        manifest = source.fetch_manifest(index)
    except (MissingManifestError, DigestMismatchError):
        # It cannot be pulled, so no deletion damages it.
        return False
    entries = (*manifest.manifests, *manifest.layers)
    nested = [entry for entry in entries if is_index(entry.media_type) and depth < MAXIMUM_DEPTH]
    return any(entry.digest == digest for entry in entries) or any(
        _lists(source, entry, digest, depth + 1) for entry in nested
    )


def _require_list(repository: Repository) -> None:
    """Raise an error if a registry has no list of tags: also then, it responds with 404.

    For a repository without tags, distribution and go-containerregistry respond with 404 and NAME_UNKNOWN.
    """
    failure = f"the tags of {repository.description} cannot be listed"
    path = f"/v2/{repository.repository}/tags/list?n=1"
    response = repository.store.request_with_retries("GET", path, failure, (200, 404))
    if response.status_code == 404 and "NAME_UNKNOWN" not in read_errors(response.content)[0]:
        error = error_of(response, failure, repository.store.description)
        raise RegistryError(error.message, "The registry may not support listing", error.status, error.codes)
