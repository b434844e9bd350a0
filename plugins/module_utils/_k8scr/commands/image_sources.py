# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the images that the entries of the option ``images`` select, from any source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import InputError, K8scrError, SourceError
from ..oci.interfaces import ImageSource, SourceImage
from ..oci.reference import Reference, parse_reference
from ..registry.upstreams import TRANSPORT, Upstreams
from ..stores.docker_daemon import TRANSPORT as DOCKER_DAEMON
from ..stores.docker_daemon import DockerDaemon
from ..stores.location import BUNDLE, Location, open_source, parse_location
from ..transfer.job import ImageJob
from .image_entries import SourceEntry
from .source_settings import SourceSettings
from .sourced_image import SourcedImage

if TYPE_CHECKING:
    from ..stores.bundle_source import BundleSource
    from ..stores.location import FileSource
    from ..transfer.lock import ImageLock
    from ..transfer.platforms import PlatformSource

_MOST_NAMES = 10
"""Names in one message."""


class ImageSources:
    """The sources of a task. Closing the exit stack closes them.

    Args:
        upstreams: The registries for ``docker://`` sources.
        lock: The lock file, if the task uses one.
        exit_stack: Closes the sources after the transfer.

    Attributes:
        result: The part of the module's result about the selected tags; known after :meth:`read`.
        bundles: The bundles of which all images are selected, by the entries' sources; known after :meth:`read`.
    """

    def __init__(
        self, settings: SourceSettings, upstreams: Upstreams, lock: ImageLock | None, exit_stack: ExitStack
    ) -> None:
        self._settings = settings
        self._upstreams = upstreams
        self._lock = lock
        self._exit_stack = exit_stack
        self._daemon = exit_stack.enter_context(closing(DockerDaemon(settings.docker, settings.connections)))
        self._files: dict[Location, FileSource] = {}
        self.result: dict[str, Any] = {"selections": []}
        self.bundles: dict[str, BundleSource] = {}

    def read(self) -> Iterator[SourcedImage | ImageJob]:
        """Yield the images of all entries; an image that cannot be read is a job with an error."""
        found = self._read_all(self._expanded())
        if self._settings.verify is None:
            yield from found
            return
        from .verified_images import verify_images

        yield from verify_images(found, self._settings.verify, self._settings.connections)

    def _read_all(self, entries: Sequence[SourceEntry | ImageJob]) -> Iterator[SourcedImage | ImageJob]:
        self._upstreams.find_all(self._upstream_references(entries))
        for entry in entries:
            if isinstance(entry, ImageJob):
                yield entry
            else:
                yield from self._read(entry)

    def _expanded(self) -> list[SourceEntry | ImageJob]:
        """Return the entries, with an entry for each tag in place of those that select tags."""
        if not any(entry.tags for entry in self._settings.images):
            return [*self._settings.images]
        from .tag_expansion import expand_entries

        expanded = list(expand_entries(self._settings.images, self._upstreams, self._lock))
        self.result = {"selections": [each.selection for each in expanded if each.selection]}
        return [image for each in expanded for image in each.images]

    def _read(self, entry: SourceEntry) -> Iterator[SourcedImage | ImageJob]:
        try:
            name = parse_reference(entry.name) if entry.name else None
            source, images = self._open(entry)
            if name:
                images = [_only(images, entry.source)]
        except K8scrError as error:
            yield ImageJob(entry.name or entry.source, source=entry.source, error=error)
            return
        selection: PlatformSource | None = None
        if entry.platforms:
            from ..transfer.platforms import PlatformSource

            selection = PlatformSource(source, entry.platforms)
        for image in images:
            try:
                yield self._select(entry, source, selection, image, name)
            except K8scrError as error:
                yield ImageJob(str(name or image.name or entry.source), source=entry.source, error=error)

    def _select(
        self,
        entry: SourceEntry,
        source: ImageSource,
        selection: PlatformSource | None,
        image: SourceImage,
        given: Reference | None,
    ) -> SourcedImage:
        known_as = given or image.name
        if self._lock and known_as:
            self._lock.require(known_as, image, entry.source)
        selected = selection.select(image) if selection else image
        name = given or selected.name
        if name is None or known_as is None:
            missing = SourceError(
                f"image {selected.root.digest} in {entry.source} has no name", "Set its name with the option name"
            )
            raise selected.name_error or missing
        locked_as = known_as, image.identity
        found = SourcedImage(entry, selection or source, source, selected, name, locked_as, image)
        if found.pinned:
            found.pinned.require(selected)
        return found

    def _open(self, entry: SourceEntry) -> tuple[ImageSource, list[SourceImage]]:
        if entry.source.startswith(TRANSPORT):
            repository, image = self._upstreams.open(self._upstream_reference(entry))
            return repository, [replace(image, name=entry.upstream)]
        location = parse_location(entry.source)
        if location.transport == DOCKER_DAEMON:
            return self._open_in_engine(entry, location.name)
        source = self._open_files(replace(location, name=None))
        if location.transport in ("", BUNDLE) and location.name is None and entry.name is None:
            from ..stores.bundle_source import BundleSource

            if isinstance(source, BundleSource):
                self.bundles[entry.source] = source
        return source, source.images(location.name)

    def _open_in_engine(self, entry: SourceEntry, name: str | None) -> tuple[ImageSource, list[SourceImage]]:
        try:
            return self._daemon.open(name)
        except K8scrError as error:
            if entry.source.startswith(DOCKER_DAEMON):
                raise
            advice = f"{error.advice}. " if error.advice else ""
            raise error.replace(
                advice=f"{advice}For an image of a registry, write {TRANSPORT}{entry.source}"
            ) from error

    def _open_files(self, location: Location) -> FileSource:
        """Open an archive or a layout once for all entries, because its list of images is read when it is opened."""
        if location not in self._files:
            source = open_source(location, self._settings.docker.tmp_dest)
            self._files[location] = self._exit_stack.enter_context(closing(source))
        return self._files[location]

    def _upstream_references(self, entries: Iterable[SourceEntry | ImageJob]) -> Iterator[Reference]:
        for entry in entries:
            # The entry's own job reports the error.
            with suppress(InputError):
                if isinstance(entry, SourceEntry) and entry.source.startswith(TRANSPORT):
                    yield self._upstream_reference(entry)

    def _upstream_reference(self, entry: SourceEntry) -> Reference:
        """Return the reference to request from an upstream registry; an enforced lock file sets its digest."""
        reference = entry.upstream
        if self._lock and self._lock.enforced and not reference.digest:
            name = parse_reference(entry.name) if entry.name else reference
            return replace(reference, digest=self._lock.digest_of(name))
        return reference


def _only(images: Sequence[SourceImage], where: str) -> SourceImage:
    """Return the only image, which may have several names."""
    if not images:
        raise SourceError(f"{where} has no image", "Check its path, or create it again with an image")
    if not all(image.is_same(images[0]) for image in images):
        names = list(dict.fromkeys(str(image.name) for image in images if image.name))
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        known = f" of {', '.join(names[:_MOST_NAMES])}{more}" if names else ""
        raise InputError(
            f"{where} has {len(images)} images, which cannot all have the same name",
            f"Select one by its name or its position: {where}:@0 is the first{known:.2000}",
        )
    return images[0]
