# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What refers to images: signatures, attestations, SBOMs.

OCI distribution specification 1.1, "Listing Referrers" and "Referrers Tag Schema"; the tags that cosign makes beside
an image's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from ..distribution.answers import read_limited
from ..errors import InputError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.digest import split_digest
from ..oci.manifest import MAXIMUM_SIZE, OCI_INDEX, Manifest, load_json_object
from .graph import walk_manifests
from .oci_index import find_entry
from .oci_layout import OciLayoutSource
from .registry import RegistryRepository
from .store import ImageSource

_COSIGN_SUFFIXES = (".sig", ".att", ".sbom")
_WITHOUT_API = (400, 404, 405, 406, 501)
"""What registries answer to a question that they have never heard of."""
_MOST_PAGES = 100
_MOST_SUBJECTS = 1000


class Referrers(Protocol):
    """Finds what refers to the manifests of one source."""

    def of(self, digest: str) -> list[dict[str, Any]]:
        """Return the descriptors of the manifests whose ``subject`` has this digest, as an index lists them.

        Raises:
            K8scrError: It cannot be found out.
        """

    def tagged(self, tag: str) -> Descriptor | None:
        """Return the manifest or index that has this tag, or ``None``."""


@dataclass(frozen=True)
class Attached:
    """What refers to one manifest.

    Attributes:
        subject: The manifest's digest.
        entries: What names it as its subject, as an index lists them.
        tags: What has one of cosign's tags for it, by tag.
    """

    subject: str
    entries: list[dict[str, Any]]
    tags: dict[str, Descriptor]


class RegistryReferrers:
    """What refers to the manifests of a repository: by the registry's own list, or by the tag that stands for it."""

    def __init__(self, repository: RegistryRepository) -> None:
        self._repository = repository

    def of(self, digest: str) -> list[dict[str, Any]]:
        """See :meth:`Referrers.of`."""
        listed = self.listed(digest)
        if listed is not None:
            return listed
        root = self.tagged(fallback_tag(digest))
        return _entries(self._repository.fetch_manifest(root)) if root else []

    def tagged(self, tag: str) -> Descriptor | None:
        """See :meth:`Referrers.tagged`."""
        return self._repository.resolve(tag)

    def listed(self, digest: str) -> list[dict[str, Any]] | None:
        """Return what the registry's own list says; ``None`` if it keeps none."""
        registry, begin = self._repository.store, f"/v2/{self._repository.repository}/referrers/{digest}"
        what = f"what refers to {digest} cannot be listed"
        path, entries = begin, []
        for _page in range(_MOST_PAGES):
            response = registry.ask("GET", path, what, (200, *_WITHOUT_API), headers={"Accept": OCI_INDEX})
            with response:
                content = read_limited(response, MAXIMUM_SIZE)
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
            if response.status_code != 200 or media_type != OCI_INDEX:
                return None
            entries += _read_entries(content, f"{what}: the answer of {registry.description}")
            if len(entries) > _MOST_SUBJECTS:
                break
            link = response.links.get("next", {}).get("url")
            if not link:
                return entries
            # Of what a registry says only this list's own pages are asked for.
            next_page = urlsplit(urljoin(path, link))
            if next_page.path != begin or next_page.netloc:
                break
            path = f"{next_page.path}?{next_page.query}"
        raise SourceError(f"{what}: {registry.description} has a list without end, or with a page elsewhere")


class LayoutReferrers:
    """What refers to the manifests of an OCI layout: entries of ``index.json`` that have a subject, or such a tag."""

    def __init__(self, layout: OciLayoutSource) -> None:
        self._layout = layout

    def of(self, digest: str) -> list[dict[str, Any]]:
        """See :meth:`Referrers.of`."""
        root = self.tagged(fallback_tag(digest))
        listed = _entries(self._layout.fetch_manifest(root)) if root else []
        return with_entries(listed, list(map(describe_referrer, self._layout.with_subject.get(digest, []))))

    def tagged(self, tag: str) -> Descriptor | None:
        """See :meth:`Referrers.tagged`."""
        return find_entry(self._layout.entries, tag)


def referrers_in(source: ImageSource) -> Referrers:
    """Return what finds the referrers in a source.

    Raises:
        InputError: Such a source has no place for any.
    """
    if isinstance(source, RegistryRepository):
        return RegistryReferrers(source)
    if isinstance(source, OciLayoutSource):
        return LayoutReferrers(source)
    raise InputError(
        f"{source.description} has no place for what refers to images", "Take them from docker://, oci: or oci-archive:"
    )


def attached_to(source: ImageSource, referrers: Referrers, root: Descriptor) -> Iterator[Attached]:
    """Find all that refers to an image or a part of it, and what refers to that again.

    Args:
        source: Where the image is, as it is wanted.
        referrers: Finds what refers to it there.
        root: Its manifest or index.

    Raises:
        K8scrError: It cannot be found out, or is too much to be true.
    """
    subjects = [manifest.descriptor.digest for manifest in walk_manifests(source, root)]
    for subject in subjects:
        entries = referrers.of(subject)
        subjects += [entry["digest"] for entry in entries if entry["digest"] not in subjects]
        if len(subjects) > _MOST_SUBJECTS:
            raise SourceError(f"more than {_MOST_SUBJECTS} manifests in {source.description} refer to one image")
        algorithm, encoded = split_digest(subject)
        found = {f"{algorithm}-{encoded}{suffix}" for suffix in _COSIGN_SUFFIXES}
        tags = {tag: descriptor for tag in sorted(found) if (descriptor := referrers.tagged(tag))}
        if entries or tags:
            yield Attached(subject, entries, tags)


def fallback_tag(digest: str) -> str:
    """Return the tag that stands for a list of referrers where a registry keeps none."""
    algorithm, encoded = split_digest(digest)
    return f"{algorithm[:32]}-{encoded[:64]}"


def describe_referrer(manifest: Manifest) -> dict[str, Any]:
    """Return the entry of a list of referrers for a manifest: its descriptor, kind and annotations."""
    value = load_json_object(manifest.content, "the manifest")
    kind = value.get("artifactType") or (manifest.config.media_type if manifest.config else None)
    descriptor = manifest.descriptor
    entry = {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
    more = {"artifactType": kind, "annotations": value.get("annotations")}
    return {**entry, **{key: text for key, text in more.items() if text}}


def with_entries(entries: list[dict[str, Any]], more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries, and those of ``more`` that are not among them."""
    known = {entry["digest"] for entry in entries}
    return [*entries, *(entry for entry in more if entry["digest"] not in known)]


def _entries(index: Manifest) -> list[dict[str, Any]]:
    # What has the tag and is no index is somebody's image.
    return _read_entries(index.content, "the list of referrers") if index.manifests else []


def _read_entries(content: bytes, what: str) -> list[dict[str, Any]]:
    try:
        entries = load_json_object(content, what).get("manifests") or []
        for entry in entries:
            Descriptor.from_json(entry)
    except (InputError, TypeError) as error:
        raise SourceError(f"{what} cannot be used: {error}") from error
    return list(entries)
