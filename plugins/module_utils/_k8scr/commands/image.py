# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy an image inside the cluster's registry, or delete it there: the command of ``k8scr_image``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import DestinationError, InputError, K8scrError, MissingManifestError, RegistryError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.digest_tag import digest_tag
from ..oci.interfaces import SourceImage
from ..oci.reference import Reference, parse_reference, target_name
from ..registry.client import Registry
from ..registry.cluster import RegistrySettings
from ..registry.deletion import Deletion, delete_manifest, delete_tag
from ..registry.references import find_references
from ..registry.repository import Repository
from ..transfer.delivered_images import DeliveredImages, Listing
from ..transfer.execute import Transfer
from ..transfer.job import ImageCopy, ImageJob, PinnedDigest, ReferrersMode, WantedReferrers
from ..transfer.listener import Listener
from ..transfer.overlay import with_canonical_digest
from ..transfer.plan import ImagePlan
from ..transfer.progress import SILENT, Progress
from ..transfer.report import ImageResult, report
from ..transfer.result_lines import Verb
from .delivered_names import delivered_images
from .registry_settings import REGISTRY_ARGUMENT_SPEC, registry_settings
from .registry_transfer import registry_transfer

IMAGE_ARGUMENT_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "from": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "referrers": {"type": "bool", "default": False},
    **REGISTRY_ARGUMENT_SPEC,
}
IMAGE_EMPTY_RESULT: Mapping[str, Any] = {"images": [], "retries": []}
IMAGE_RULES: dict[str, Any] = {"required_if": [("state", "present", ["from"])]}
_BY_DIGEST = "digest"
"""The method of a deletion by digest; the others are those of :class:`..registry.deletion.Deletion`."""


@dataclass(frozen=True)
class ImageSettings:
    """The options of ``k8scr_image``.

    Attributes:
        source: The image to copy; ``None`` to delete the image ``name``.
    """

    registry: RegistrySettings
    name: Reference
    source: Reference | None
    referrers: bool
    qualify: bool

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ImageSettings:
        """Read the module's parameters.

        Raises:
            InputError: An option is invalid.
        """
        source = _reference(options, "from") if options["state"] == "present" else None
        name = _reference(options, "name")
        return cls(registry_settings(options), name, source, options["referrers"], options["qualify"])


def run_image(options: Mapping[str, Any], check_mode: bool, progress: Progress = SILENT) -> dict[str, Any]:
    """Copy or delete an image and return the module's result.

    Raises:
        ClusterError: No cluster is configured, or its configuration cannot be used.
        InputError: An option is invalid.
    """
    settings = ImageSettings.from_options(options)
    with registry_transfer(settings.registry, True, progress, Verb.COPY) as (registry, listener, log):
        delivered = delivered_images(registry, settings.registry.pod, settings.registry.connections)
        return {**change_image(settings, check_mode, registry, listener, delivered), "retries": log.entries}


def change_image(
    settings: ImageSettings,
    check_mode: bool,
    registry: Registry,
    listener: Listener,
    delivered: DeliveredImages | None = None,
) -> dict[str, Any]:
    """Copy or delete an image and return the module's result without ``retries``.

    Args:
        listener: Receives the events of the transfer.
        delivered: The list of the registry's images.
    """
    repository = Repository(registry, settings.name.repository(settings.qualify))
    if settings.source is None:
        return _Removal(repository, settings.name, settings.registry.connections, check_mode, delivered).run()
    try:
        job = _copy_job(settings, settings.source, repository)
    except K8scrError as error:
        job = ImageJob(str(settings.name), source=str(settings.source), error=error)
    results = Transfer(settings.registry.connections, check_mode).run([job], listener)
    listing = delivered.add(results, check_mode) if delivered else Listing()
    return report(results, listing.failures, listing.diffs)


def _copy_job(settings: ImageSettings, name: Reference, destination: Repository) -> ImageJob:
    source = Repository(destination.store, name.repository(settings.qualify))
    root = source.resolve(name.digest or name.tag or "")
    if root is None:
        raise SourceError(
            f"{source.description} does not have the image {name}",
            "Push it first, or check its name and the option qualify",
        )
    new, image = settings.name, SourceImage(root, name)
    pinned = PinnedDigest(new, str(name)) if new.digest else None
    if pinned:
        pinned.require(image)
    content = with_canonical_digest(source, image) if new.tag else (source, image)
    neighbors = (source,) if source.repository != destination.repository else ()
    protection = digest_tag(root.digest) if new.tag is None and root.digest.startswith("sha256:") else None
    copy = ImageCopy(*content, destination, new.tag, neighbors, None, pinned, protection)
    target = target_name(destination.repository, new.tag or root.digest)
    facts = {"repository": destination.repository, "tag": new.tag}
    mode = ReferrersMode.ALWAYS if settings.referrers else ReferrersMode.NEVER
    referrers = WantedReferrers(mode, source, partial(target_name, destination.repository))
    return ImageJob(str(new), copy, target, str(name), facts, referrers=referrers)


@dataclass(frozen=True)
class _Removal:
    """The deletion of a tag, or of an image with all its tags if it is named by digest."""

    repository: Repository
    name: Reference
    connections: int
    check_mode: bool
    delivered: DeliveredImages | None = None

    def run(self) -> dict[str, Any]:
        """Delete the image if it exists, and return the module's result."""
        found: Descriptor | None = None
        try:
            found = self._find()
            if found is None:
                return self._report(None)
            if self.name.tag:
                return self._delete_tag(self.name.tag, found)
            return self._delete_manifest(found)
        except K8scrError as error:
            facts = {"repository": self.repository.repository, "tag": self.name.tag}
            target = target_name(self.repository.repository, self._reference)
            job = ImageJob(str(self.name), target=target, facts=facts, error=error)
            before = found if found and found.digest else None
            return report([ImageResult(ImagePlan(job, before=before, error=error), error=error)])

    @property
    def _reference(self) -> str:
        return self.name.tag or self.name.digest or ""

    def _find(self) -> Descriptor | None:
        """Return the descriptor of the image; one without the unknown digest for a broken tag."""
        tag, digest = self.name.tag, self.name.digest
        try:
            return self.repository.find_tag(tag) if tag else self.repository.resolve(self._reference)
        except (MissingManifestError, RegistryError) as error:
            is_broken = isinstance(error, MissingManifestError) or error.is_unreadable
            if not is_broken or (tag and digest):
                raise
            return Descriptor("application/octet-stream", digest or "", 0)

    def _delete_tag(self, tag: str, found: Descriptor) -> dict[str, Any]:
        if self.name.digest:
            PinnedDigest(self.name, f"tag {tag}").require(SourceImage(found))
        if self.check_mode:
            return self._report(found, (tag,))
        with self._withdrawn((tag,)):
            deletion = delete_tag(self.repository, tag, found.digest or None, unreadable=not found.digest)
        if deletion is Deletion.MOVED:
            raise DestinationError(
                f"tag {tag} of {self.repository.description} was moved by another client and is not deleted",
                "Run again to delete it",
            )
        return self._report(found, (tag,), deletion.value) if deletion.changed else self._report(None)

    def _delete_manifest(self, found: Descriptor) -> dict[str, Any]:
        references = find_references(self.repository, found.digest, self.connections)
        if references.indexes:
            raise DestinationError(
                f"manifest {found.digest} of {self.repository.description} is not deleted, because the index with the"
                f" tag {', '.join(references.indexes):.500} refers to it",
                "Delete that tag first, if no client needs the index",
            )
        if self.check_mode:
            return self._report(found, references.tags)
        with self._withdrawn((found.digest, *references.tags)):
            delete_manifest(self.repository, found.digest, references.tags)
        return self._report(found, references.tags, _BY_DIGEST)

    @contextmanager
    def _withdrawn(self, references: Sequence[str]) -> Iterator[None]:
        """Remove tags and digests from the list of the registry's images, and delete them in the block."""
        if self.delivered is None:
            yield
            return
        names = {(self.repository.repository, each) for each in references}
        withdrawal = self.delivered.withdraw(names.__contains__)
        try:
            yield
        except K8scrError:
            with suppress(K8scrError):
                self.delivered.settle(withdrawal)
            raise
        try:
            self.delivered.settle(withdrawal)
        except K8scrError as error:
            message = f"the image was deleted, but the list of delivered names was not checked: {error.message}"
            raise error.replace(message, "Run k8scr_delivered_names") from error

    def _report(
        self, before: Descriptor | None, tags: tuple[str, ...] = (), method: str | None = None
    ) -> dict[str, Any]:
        """Return the result of a deletion that changed ``before``, or nothing if that is ``None``."""
        repository = self.repository.repository
        target = target_name(repository, self._reference)
        entry = {
            "name": str(self.name),
            "repository": repository,
            "tag": self.name.tag,
            "target": target,
            "changed": before is not None,
            "digest": None,
            "digest_before": (before.digest or None) if before else None,
            "tags": list(tags),
            "method": method,
        }
        deleted = dict.fromkeys((target, *(target_name(repository, tag) for tag in tags))) if before else {}
        lines = [f"{name} {before.digest or 'unreadable'}\n" for name in deleted if before]
        return {"changed": before is not None, "images": [entry], "diff": {"before": "".join(lines), "after": ""}}


def _reference(options: Mapping[str, Any], option: str) -> Reference:
    try:
        return parse_reference(options[option])
    except InputError as error:
        raise InputError(f"{option} cannot be used: {error.message}", error.advice) from error
