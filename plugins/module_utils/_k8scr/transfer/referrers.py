# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the referrers of an image and its parts, and the referrers of those."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.digest import split_digest
from ..oci.graph import walk_manifests
from ..oci.interfaces import ImageSource, Referrers

_COSIGN_SUFFIXES = (".sig", ".att", ".sbom")
_MOST_SUBJECTS = 1000


@dataclass(frozen=True)
class Attached:
    """The referrers of one manifest.

    Attributes:
        subject: The manifest's digest.
        entries: The referrers that name it as their subject, as an index lists them.
        tags: The artifacts with one of cosign's tags for it, by tag.
    """

    subject: str
    entries: list[dict[str, Any]]
    tags: dict[str, Descriptor]


def referrers_in(source: ImageSource) -> Referrers:
    """Return the referrers of a source.

    Raises:
        InputError: Sources of this kind have no referrers.
    """
    if source.referrers is None:
        raise InputError(
            f"{source.description} cannot store referrers", "Use docker://, oci: or oci-archive: as the source"
        )
    return source.referrers


def attached_to(source: ImageSource, referrers: Referrers, root: Descriptor) -> Iterator[Attached]:
    """Find the referrers of an image and its parts, and the referrers of those.

    Args:
        source: The source of the image, reduced to the selected platforms.
        referrers: The referrers at the source.
        root: The image's manifest or index.

    Raises:
        K8scrError: The source does not return them, or returns more than 1,000.
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
