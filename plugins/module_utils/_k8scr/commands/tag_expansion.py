# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replace entries that select tags of a repository by an entry for each tag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import K8scrError
from ..oci.reference import parse_repository
from ..registry.upstreams import TRANSPORT, Upstreams
from ..transfer.job import ImageJob
from .image_entries import SourceEntry

if TYPE_CHECKING:
    from ..oci.tag_selection import SelectedTags, TagSelection
    from ..transfer.lock import ImageLock


@dataclass(frozen=True)
class ExpandedEntry:
    """An entry of the option ``images``.

    Attributes:
        images: The entry itself, or an entry for each selected tag, or a job with the error.
        selection: The entry of the selection in the module's result, if the entry selects tags.
    """

    images: tuple[SourceEntry | ImageJob, ...]
    selection: dict[str, Any] | None = None


def expand_entries(
    entries: Sequence[SourceEntry], upstreams: Upstreams, lock: ImageLock | None
) -> Iterator[ExpandedEntry]:
    """Yield all entries in their order. Several repositories are listed in parallel.

    Args:
        lock: The lock file. If it is enforced, tags are selected among its names, without a request.
    """

    def expand(entry: SourceEntry) -> ExpandedEntry:
        if entry.tags is None:
            return ExpandedEntry((entry,))
        try:
            return _expanded(entry, _select(entry, entry.tags, upstreams, lock))
        except K8scrError as error:
            return ExpandedEntry((ImageJob(entry.name or entry.source, source=entry.source, error=error),))

    with ThreadPoolExecutor(upstreams.connections) as workers:
        yield from workers.map(expand, entries)


def _select(entry: SourceEntry, selection: TagSelection, upstreams: Upstreams, lock: ImageLock | None) -> SelectedTags:
    repository = parse_repository(entry.source[len(TRANSPORT) :])
    if lock and lock.enforced:
        name = parse_repository(entry.name) if entry.name else repository
        return selection.select(lock.tags_of(name), f"{name} in the lock file")
    return selection.select(upstreams.tags_of(repository), str(repository))


def _expanded(entry: SourceEntry, found: SelectedTags) -> ExpandedEntry:
    images = (
        replace(
            entry,
            source=f"{entry.source}:{tag}",
            name=f"{entry.name}:{tag}" if entry.name else None,
            tags=None,
        )
        for tag in found.tags
    )
    selection = {"source": entry.source, "tags": list(found.tags), "left_out": dict(found.left_out)}
    return ExpandedEntry(tuple(images), selection)
