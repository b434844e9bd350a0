# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Artifacts in an OCI layout that belong to its images, such as signatures.

Tools list them in ``index.json`` in several forms: a manifest with a subject and no name (OCI image specification 1.1),
an index with the fallback tag, cosign's tags, and the annotation ``kind`` of ``cosign save`` and hauler.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from ..errors import DigestMismatchError, InputError, SourceError
from ..files.file_access import Files
from ..oci.descriptor import Descriptor
from ..oci.digest import parse_digest
from ..oci.interfaces import ManifestSource
from ..oci.json_object import json_object
from ..oci.manifest import Manifest, load_json_object
from ..oci.referrers import describe_referrer, entries_of, fallback_tag, with_entries
from .oci_index import attached_kind, blob_path, entry_names, find_entry, full_name, has_image_kind

_COSIGN_SUFFIXES = {"sigs": ".sig", "atts": ".att", "sboms": ".sbom"}
"""The suffixes of cosign's tags, by the kind of artifact."""
_REFERRERS_TAG = re.compile(r"(sha256|sha512)-([0-9a-f]{64,128})(?:\.sig|\.att|\.sbom)?")
_HAULER_SUBJECT = "hauler.dev/subject-digest"


class LayoutReferrers:
    """The referrers in a layout; see :class:`Referrers`.

    Args:
        entries: The entries of ``index.json``.
        files: The files of the layout, which only :meth:`belongs` reads.
        source: Reads the manifests of the layout.
    """

    def __init__(self, entries: Sequence[Descriptor], files: Files | None, source: ManifestSource) -> None:
        self._entries = entries
        self._files = files
        self._source = source

    def of(self, digest: str) -> list[dict[str, Any]]:
        root = self._named(fallback_tag(digest))
        listed = entries_of(self._source.fetch_manifest(root)) if root else []
        return with_entries(listed, list(map(describe_referrer, self._by_subject.get(digest, []))))

    def tagged(self, tag: str) -> Descriptor | None:
        return self._named(tag) or self._by_cosign_tag.get(tag)

    def subject(self, entry: Descriptor) -> str | None:
        """Return the digest of the manifest to which an entry of the layout refers; ``None`` for an image.

        An entry with a full name is an image, even if it refers to another manifest.
        """
        kind = attached_kind(entry)
        if kind in _COSIGN_SUFFIXES:
            return next(self._cosign_subjects(entry), "")
        if kind is None and full_name(entry):
            return None
        for match in map(_REFERRERS_TAG.fullmatch, entry_names(entry)):
            if match:
                return f"{match[1]}:{match[2]}"
        try:
            manifest = self._read(entry)
        except DigestMismatchError:
            # The copy of the entry reports that it is damaged.
            return None
        return (_subject_of(manifest) if manifest else None) or ("" if kind else None)

    def belongs(self, entry: Descriptor) -> bool:
        """Whether an entry refers to a manifest of the layout, so that it is copied with that image."""
        subject = self.subject(entry)
        try:
            path = blob_path(parse_digest(subject)) if subject else None
            return path is not None and self._files is not None and self._files.size(path) is not None
        except InputError:
            # A fallback tag has only the beginning of a sha512 digest.
            return str(subject).replace(":", "-") in self._fallback_tags

    def _named(self, tag: str) -> Descriptor | None:
        return find_entry(self._entries, tag)

    def _cosign_subjects(self, entry: Descriptor) -> Iterator[str]:
        """Yield the digest of the image to which a signature, attestation or SBOM of cosign belongs, if it is known."""
        *_kind, child = entry.annotations["kind"].split("/")
        stated = entry.annotations.get(_HAULER_SUBJECT) or f"sha256:{child}"
        try:
            yield parse_digest(stated)
        except InputError:
            # cosign and earlier versions of hauler store it under the name of its image, or both without a name.
            images = self._images_by_names.get(entry_names(entry), ())
            if len(images) == 1:
                yield from images

    @cached_property
    def _fallback_tags(self) -> set[str]:
        return {fallback_tag(entry.digest) for entry in self._entries}

    @cached_property
    def _images_by_names(self) -> dict[tuple[str, ...], set[str]]:
        """The digests of the images that cosign or hauler stored, by their names."""
        found: dict[tuple[str, ...], set[str]] = {}
        for entry in filter(has_image_kind, self._entries):
            found.setdefault(entry_names(entry), set()).add(entry.digest)
        return found

    @cached_property
    def _by_cosign_tag(self) -> dict[str, Descriptor]:
        found = {}
        for entry in self._entries:
            suffix = _COSIGN_SUFFIXES.get(attached_kind(entry) or "")
            for subject in self._cosign_subjects(entry) if suffix else ():
                found[f"{subject.replace(':', '-')}{suffix}"] = entry
        return found

    @cached_property
    def _by_subject(self) -> dict[str, list[Manifest]]:
        """The manifests that refer to another manifest, by the digest of that manifest."""
        found: dict[str, list[Manifest]] = {}
        # Pulls of several images at once write the entries in any order; lists of referrers have one order.
        for entry in sorted(set(self._entries), key=lambda each: each.digest):
            try:
                manifest = self._read(entry)
            except DigestMismatchError:
                if full_name(entry):
                    # A damaged image does not affect the referrers of the others.
                    continue
                raise
            subject = _subject_of(manifest) if manifest else None
            if manifest and subject:
                found.setdefault(subject, []).append(manifest)
        return found

    def _read(self, entry: Descriptor) -> Manifest | None:
        """Return the manifest of an entry; ``None`` if it is missing, as in sparse layouts, or is not a manifest.

        Raises:
            DigestMismatchError: It is damaged.
        """
        try:
            return self._source.fetch_manifest(entry)
        except SourceError:
            return None


def _subject_of(manifest: Manifest) -> str | None:
    digest = json_object(load_json_object(manifest.content, "the manifest").get("subject")).get("digest")
    return digest if isinstance(digest, str) else None
