# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that state the images of another site's registry: a lock file, a result of ``k8scr_info``, or a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DigestMismatchError, InputError, SourceError
from ..files.file_access import read_errors, read_small
from ..files.yaml_text import read_documents
from ..oci.digest import parse_digest
from ..oci.graph import walk_manifests
from ..oci.reference import Reference, is_repository, is_tag, parse_workload_reference
from ..stores.bundle_format import OmittedBlob

_MOST_BYTES = 32 << 20
"""Bytes of a file with the result of ``k8scr_info`` for more than 10,000 images."""
_LAYOUT_TEXT = b"ustar"
_LAYOUT_TEXT_AT = 257
"""The position of the mark in the first header of a tar archive."""


@dataclass(frozen=True)
class FarImage:
    """An image of the other side's registry.

    Attributes:
        digest: The digest of its manifest or index; for a lock file, the digest at the source.
        tags: Its tags.
        repository: Its repository in the registry; empty if only its full name is known.
        name: Its full name without tag and digest, as in ``docker.io/library/busybox``; ``None`` if only its repository
            is known.
        platforms: The digests of the manifests of an index.
    """

    digest: str
    tags: tuple[str, ...] = ()
    repository: str = ""
    name: Reference | None = None
    platforms: tuple[str, ...] = ()

    def is_at(self, name: Reference) -> bool:
        """Whether the image is in the repository of a name."""
        if self.name:
            return (self.name.host, self.name.path) == (name.host, name.path)
        return self.repository in (name.repository(), name.repository(qualify=True))

    def has_name(self, name: Reference) -> bool:
        """Whether a name selects the image by its repository and its tag, if it has one."""
        return self.is_at(name) and (name.tag is None or name.tag in self.tags)

    @property
    def repositories(self) -> tuple[str, ...]:
        """The repositories in which the registry may have it; that depends on ``qualify`` of the push."""
        if self.name:
            return tuple(dict.fromkeys((self.name.repository(), self.name.repository(qualify=True))))
        return (self.repository,)


@dataclass(frozen=True)
class FarSideFile:
    """The images of the other side's registry.

    Attributes:
        is_lock: Whether the digests are those at the sources, before platforms are selected.
        layers: The positions in ``images`` of the images with a layer, by its digest; ``None`` if they are unknown.
        omitted: The blobs that an earlier bundle left out, because the other side had them before.
        base: The images of these blobs.
    """

    images: tuple[FarImage, ...]
    is_lock: bool = False
    layers: Mapping[str, Sequence[int]] | None = None
    omitted: Mapping[str, OmittedBlob] = field(default_factory=dict)
    base: tuple[FarImage, ...] = ()


def read_far_side(path: Path, tmp_dest: str | None = None) -> FarSideFile:
    """Read the file or the bundle of the option ``since``.

    Args:
        tmp_dest: The folder for a bundle that has to be unpacked.

    Raises:
        InputError: The file is none of the known ones, or is damaged.
        SourceError: The file or the bundle cannot be read.
    """
    with read_errors(path):
        is_bundle = path.is_dir() or _is_archive(path)
    if is_bundle:
        return _read_bundle(path, tmp_dest)
    with read_errors(path):
        content = read_small(path, _MOST_BYTES)
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path} has more than {_MOST_BYTES} bytes", _ADVICE)
    documents = read_documents(content, str(path))
    value = documents[0].value if len(documents) == 1 else None
    if not isinstance(value, Mapping):
        raise InputError(f"{path} does not state the images of a registry", _ADVICE)
    try:
        if isinstance(value.get("images"), list):
            return FarSideFile(tuple(map(_reported, value["images"])))
        return FarSideFile(tuple(_locked(name, digest) for name, digest in value.items()), is_lock=True)
    except InputError as error:
        raise InputError(f"{path} does not state the images of a registry: {error.message}", _ADVICE) from error


_ADVICE = "Use a lock file, a bundle, or the result of k8scr_info as JSON or YAML"


def _is_archive(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(512)[_LAYOUT_TEXT_AT:].startswith(_LAYOUT_TEXT)


def _locked(name: Any, digest: Any) -> FarImage:
    if not isinstance(name, str):
        raise InputError("a name is not a string")
    reference = parse_workload_reference(name)
    tags = (reference.tag,) if reference.tag else ()
    return FarImage(parse_digest(digest), tags, name=Reference(reference.host, reference.path))


def _reported(image: Any) -> FarImage:
    """Return an image of the result of ``k8scr_info``."""
    if not isinstance(image, Mapping):
        raise InputError("an image is not a dictionary")
    repository, tags = image.get("repository"), image.get("tags")
    name = image.get("name")
    if repository is None and isinstance(name, str):
        repository, tag = _split(name)
        tags = [tag] if tag else []
    if not isinstance(repository, str) or not is_repository(repository):
        raise InputError(f"{repository!r:.100} is not a repository")
    tags = [] if tags is None else tags
    if not isinstance(tags, list) or not all(isinstance(tag, str) and is_tag(tag) for tag in tags):
        raise InputError(f"the tags of {repository} are not a list of tags")
    platforms = image.get("platforms") or []
    if not isinstance(platforms, list) or not all(isinstance(each, Mapping) for each in platforms):
        raise InputError(f"the platforms of {repository} are not a list of dictionaries")
    digests = tuple(parse_digest(each.get("digest")) for each in platforms)
    return FarImage(parse_digest(image.get("digest")), tuple(tags), repository, platforms=digests)


def _split(name: str) -> tuple[str, str | None]:
    """Return the repository and the tag in the name of an image in a registry."""
    plain = name.partition("@")[0]
    repository, colon, tag = plain.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (plain, None)


def _read_bundle(path: Path, tmp_dest: str | None) -> FarSideFile:
    from ..stores.bundle_source import open_bundle

    with closing(open_bundle(path, tmp_dest)) as source:
        images, layers = [], dict[str, list[int]]()
        for number, each in enumerate(source.bundle.images):
            images.append(_named(each.name, each.digest))
            entry = next((entry for entry in source.entries if entry.digest == each.digest), None)
            try:
                for manifest in walk_manifests(source, entry) if entry else ():
                    for layer in manifest.layers:
                        layers.setdefault(layer.digest, []).append(number)
            except (SourceError, DigestMismatchError) as error:
                raise SourceError(
                    f"{each.name} in {source.description} cannot be read: {error.message}",
                    "Check the bundle with state: verified",
                ) from error
        base = tuple(_named(each.name, each.digest) for each in source.bundle.base)
        return FarSideFile(tuple(images), False, layers, source.bundle.omitted, base)


def _named(name: str, digest: str) -> FarImage:
    """Return an image of a bundle."""
    reference = parse_workload_reference(name)
    tags = (reference.tag,) if reference.tag else ()
    return FarImage(digest, tags, name=Reference(reference.host, reference.path))
