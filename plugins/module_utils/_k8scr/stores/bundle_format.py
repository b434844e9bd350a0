# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The format of bundles, no I/O: OCI layouts with files that state what the bundle must contain.

``bundle.json`` lists the images, the other files and the volumes. A bundle is complete only if that file says so: it is
marked as incomplete before the first change, and written last. The same content gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import InputError, SourceError
from ..files.file_access import Files, read_file
from ..oci.digest import digest_of, parse_digest, split_digest
from ..oci.manifest import load_json_object
from .json_members import (
    as_number,
    members,
    number,
    object_members,
    objects,
    require_unique,
    sha256_sum,
    text,
    texts,
)
from .oci_index import BUNDLE_FILE, INDEX_FILE, LAYOUT_FILE

VOLUME_FILE = "volume.json"
SUMS_FILE = "SHA256SUMS"
LOCK_FILE = "images.lock.json"
PARTS_FOLDER = "parts"
STAGING_FOLDER = ".staging"
BUNDLE_MEDIA_TYPE = "application/vnd.k8scr.bundle.v1+json"
MAXIMUM_BUNDLE_FILE = 16 << 20
"""Bytes of the largest file that describes a bundle, for about 100,000 blobs."""
MAXIMUM_VOLUMES = 9999
SCHEMA_VERSION = 1
_RESERVED = frozenset(
    name.lower()
    for name in (BUNDLE_FILE, VOLUME_FILE, SUMS_FILE, LOCK_FILE, INDEX_FILE, LAYOUT_FILE, PARTS_FOLDER, "blobs")
)
_COMPONENT = re.compile(r'[^\x00-\x20"*/:<>?\\|\x7f](?:[^\x00-\x1f"*/:<>?\\|\x7f]{0,253}[^\x00-\x20"*/:<>?\\|\x7f.])?')
"""The names that FAT32, NTFS and ISO 9660 with extensions can store, and ``sha256sum`` prints unescaped."""
_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")


@dataclass(frozen=True)
class BundleImage:
    """An image of a bundle, or of its base.

    Attributes:
        name: Its full name, as in ``index.json``.
        size: The bytes of its manifest or index.
    """

    name: str
    digest: str
    size: int = 0


@dataclass(frozen=True)
class OmittedBlob:
    """A blob that a bundle leaves out, because its base has it.

    Attributes:
        repositories: The repositories of the other side's registry that have the blob.
    """

    size: int
    repositories: tuple[str, ...] = ()


@dataclass(frozen=True)
class BundleFile:
    """A file of a bundle beside the images.

    Attributes:
        path: Its path, relative and with ``/``.
        image: The digest of the image in an image archive; empty for another file.
    """

    path: str
    size: int
    sha256: str
    image: str = ""


@dataclass(frozen=True)
class Part:
    """A part of a blob that does not fit in one file of one volume."""

    volume: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Volumes:
    """The distribution of a bundle over volumes.

    Attributes:
        count: The number of volumes, which are counted from 1.
        size: The bytes that the files of a volume can have.
        blobs: The volume of each blob by its digest. Other blobs are on every volume, like all manifests.
        cut: The parts of each blob that is cut, in order, by its digest.
        files: The volume of each file beside the images by its path.
        id: Identifies this version of the bundle: each change to the content or to the distribution changes it.
    """

    count: int
    size: int
    blobs: Mapping[str, int] = field(default_factory=dict)
    cut: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    id: str = ""

    def of(self, digest: str) -> tuple[int, ...]:
        """Return the volumes with the parts of a blob, or with the whole blob."""
        parts = self.cut.get(digest)
        if parts:
            return tuple(dict.fromkeys(part.volume for part in parts))
        return (self.blobs[digest],) if digest in self.blobs else ()


@dataclass(frozen=True)
class BundleManifest:
    """What a bundle must contain.

    Attributes:
        base: The images that the registry of the other side must have already.
        omitted: The blobs that the bundle leaves out, by digest.
        extras: The files beside the images.
        volumes: ``None`` for a bundle in one folder or archive.
        left_out: The images of the tasks that the bundle does not have because the other side has them. They are a part
            of ``base``.
    """

    images: tuple[BundleImage, ...] = ()
    base: tuple[BundleImage, ...] = ()
    omitted: Mapping[str, OmittedBlob] = field(default_factory=dict)
    extras: tuple[BundleFile, ...] = ()
    volumes: Volumes | None = None
    left_out: tuple[BundleImage, ...] = ()


@dataclass(frozen=True)
class BundleFault:
    """A difference between a bundle and its description.

    Attributes:
        volume: The number of the volume; ``None`` for a bundle in one folder or archive.
        path: The file, relative to the bundle or the volume; empty for a whole volume.
        images: The names of the images that need the file.
        problem: The fault, as a part of a sentence: ``is missing``.
    """

    volume: int | None
    path: str
    images: tuple[str, ...]
    problem: str

    def __str__(self) -> str:
        where = f"volume {self.volume}" if self.volume else ""
        named = f"{self.path} on {where}" if self.path and where else self.path or where
        needed = f" (needed by {', '.join(self.images):.500})" if self.images else ""
        return f"{named} {self.problem}{needed}"


def read_bundle(files: Files) -> tuple[BundleManifest, bool] | None:
    """Return the description of a bundle and whether it is complete; ``None`` without ``bundle.json``.

    Raises:
        SourceError: The file cannot be read or is damaged.
    """
    if files.size(BUNDLE_FILE) is None:
        return None
    content = read_file(files, BUNDLE_FILE, MAXIMUM_BUNDLE_FILE)
    try:
        return parse_bundle(content)
    except InputError as error:
        raise SourceError(
            f"{BUNDLE_FILE} in {files.description} cannot be used: {error.message}",
            error.advice or "Copy the bundle again",
        ) from error


def complete_bundle(files: Files) -> BundleManifest:
    """Return the description of a complete bundle.

    Raises:
        SourceError: The bundle is damaged or incomplete.
    """
    found = read_bundle(files)
    if found is None:
        raise SourceError(
            f"{files.description} is not a bundle: it has no {BUNDLE_FILE}",
            "Check the path, and that the medium is mounted and was copied completely. For an OCI layout or archive"
            " without this file, write oci: or oci-archive: before it",
        )
    bundle, complete = found
    if not complete:
        raise SourceError(
            f"the bundle in {files.description} is incomplete",
            "Run the task with k8scr_bundle again until it succeeds, and then copy the bundle",
        )
    return bundle


def parse_bundle(content: bytes) -> tuple[BundleManifest, bool]:
    """Parse ``bundle.json``, and return the description and whether the bundle is complete.

    Raises:
        InputError: It is not valid.
    """
    value = load_json_object(content, BUNDLE_FILE, MAXIMUM_BUNDLE_FILE)
    require_kind(value, BUNDLE_MEDIA_TYPE)
    extras = tuple(_extra(each) for each in objects(value, "extras"))
    require_unique([each.path.lower() for each in extras], "extras")
    images = tuple(_image(each) for each in objects(value, "images"))
    require_unique([each.name for each in images], "images")
    omitted = {
        parse_digest(digest): OmittedBlob(number(each, "size"), tuple(texts(each, "repositories")))
        for digest, each in object_members(value, "omitted")
    }
    base, left_out = (tuple(_image(each) for each in objects(value, name)) for name in ("base", "left_out"))
    stated = value.get("volumes")
    bundle = BundleManifest(images, base, omitted, extras, None if stated is None else _volumes(stated), left_out)
    if bundle.volumes and set(bundle.volumes.files) != {each.path for each in extras}:
        raise InputError("its volumes do not have the files that it lists")
    return bundle, value.get("complete") is True


def bundle_content(bundle: BundleManifest, complete: bool = True) -> bytes:
    """Return the content of ``bundle.json``."""
    value: dict[str, Any] = {
        "schemaVersion": SCHEMA_VERSION,
        "mediaType": BUNDLE_MEDIA_TYPE,
        "complete": complete,
        "images": _images_json(bundle.images),
    }
    if bundle.base:
        value["base"] = _images_json(bundle.base)
    if bundle.left_out:
        value["left_out"] = _images_json(bundle.left_out)
    if bundle.omitted:
        value["omitted"] = {
            digest: {"size": blob.size, "repositories": sorted(set(blob.repositories))}
            for digest, blob in bundle.omitted.items()
        }
    if bundle.extras:
        value["extras"] = [_extra_json(each) for each in sorted(bundle.extras, key=lambda each: each.path)]
    if bundle.volumes:
        value["volumes"] = {
            **vars(bundle.volumes),
            "cut": {digest: [vars(part) for part in parts] for digest, parts in bundle.volumes.cut.items()},
        }
    return json_content(value)


def with_identity(bundle: BundleManifest) -> BundleManifest:
    """Return the description of a bundle on volumes with its ID, which is the digest of all other content."""
    if bundle.volumes is None:
        return bundle
    plain = replace(bundle, volumes=replace(bundle.volumes, id=""))
    identity = split_digest(digest_of(bundle_content(plain)))[1]
    return replace(bundle, volumes=replace(bundle.volumes, id=identity))


def lock_content(bundle: BundleManifest) -> bytes:
    """Return the content of the lock file of a bundle, in the format of ``transfer/lock.py``."""
    return json_content(
        {each.name.partition("@")[0] if _has_tag(each.name) else each.name: each.digest for each in bundle.images}
    )


def sums_content(sums: Mapping[str, str]) -> bytes:
    """Return the content of ``SHA256SUMS``: the sums of files by their paths."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(sums.items())).encode()


def read_sums(files: Files) -> dict[str, str]:
    """Return the sums in ``SHA256SUMS`` by the paths of the files.

    Raises:
        SourceError: The file is missing or damaged.
    """
    content = read_file(files, SUMS_FILE, MAXIMUM_BUNDLE_FILE)
    found = {}
    for line in content.decode("utf-8", "replace").removesuffix("\n").split("\n"):
        match = _SUM.fullmatch(line)
        if match is None or not is_path(match[2]):
            raise SourceError(
                f"{SUMS_FILE} in {files.description} is damaged: invalid line {line!r:.200}", "Copy the bundle again"
            )
        found[match[2]] = match[1]
    return found


def sha256_of(content: bytes) -> str:
    """Return the sum of a file's content, as in ``SHA256SUMS``."""
    return split_digest(digest_of(content))[1]


def is_path(path: str) -> bool:
    """Whether a path is relative, stays below its folder, and can be stored on all usual media."""
    components = path.split("/")
    return (
        len(path.encode("utf-8", "replace")) <= 1024
        and all(map(_COMPONENT.fullmatch, components))
        and not ({".", ".."} & set(components))
    )


def extra_path(path: str) -> str:
    """Return the path of a file beside the images.

    Raises:
        InputError: It is not relative, cannot be stored on all usual media, or belongs to the format of bundles.
    """
    if not is_path(path) or path.partition("/")[0].lower() in _RESERVED:
        raise InputError(
            f"{path!r:.200} cannot be the path of a file in a bundle",
            'Use a relative path without the characters " * : < > ? \\ | and not a name of the bundle itself',
        )
    return path


def _image(value: Mapping[str, Any]) -> BundleImage:
    return BundleImage(text(value, "name"), parse_digest(value.get("digest")), number(value, "size"))


def _images_json(images: Iterable[BundleImage]) -> list[dict[str, Any]]:
    return [vars(each) for each in sorted(images, key=lambda each: (each.name, each.digest))]


def _extra(value: Mapping[str, Any]) -> BundleFile:
    image = parse_digest(value["image"]) if "image" in value else ""
    return BundleFile(extra_path(text(value, "path")), number(value, "size"), sha256_sum(value, "sha256"), image)


def _extra_json(file: BundleFile) -> dict[str, Any]:
    return {key: value for key, value in vars(file).items() if value != ""}


def _volumes(value: Any) -> Volumes:
    if not isinstance(value, Mapping):
        raise InputError("its volumes are not a JSON object")
    count = number(value, "count", 1, MAXIMUM_VOLUMES)
    cut = {}
    for digest, parts in members(value, "cut"):
        if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
            raise InputError("its cut blobs are not lists of parts")
        cut[parse_digest(digest)] = tuple(
            Part(number(part, "volume", 1, count), number(part, "size", 1), sha256_sum(part, "sha256"))
            for part in parts
        )
    blobs = {parse_digest(digest): as_number(at, "volume", 1, count) for digest, at in members(value, "blobs")}
    files = {extra_path(path): as_number(at, "volume", 1, count) for path, at in members(value, "files")}
    if not all(cut.values()) or set(cut) & set(blobs):
        raise InputError("its cut blobs have no parts, or are also whole on a volume")
    return Volumes(count, number(value, "size", 1), blobs, cut, files, sha256_sum(value, "id"))


def require_kind(value: Mapping[str, Any], media_type: str) -> None:
    """Raise an error if a description has another media type or version."""
    if value.get("mediaType") != media_type:
        raise InputError(f"its mediaType is not {media_type}")
    if value.get("schemaVersion") != SCHEMA_VERSION:
        raise InputError(
            f"it has the version {str(value.get('schemaVersion'))!r:.50} instead of {SCHEMA_VERSION}",
            "Update the collection",
        )


def _has_tag(name: str) -> bool:
    return ":" in name.partition("@")[0].rpartition("/")[2]


def json_content(value: Mapping[str, Any]) -> bytes:
    """Return the content of a description: the same value always gives the same bytes."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
