# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Valid and invalid images and archives.

The digests that refer to invalid content are correct, so that it is read.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import zstandard
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.graph import MAXIMUM_DEPTH
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from hypothesis import strategies as st

from .images import OCI_LAYER_GZIP, REFERENCE_NAME, describe, make_image, tar


@dataclass(frozen=True)
class Raw:
    """JSON text that no encoder produces."""

    text: bytes


@dataclass(frozen=True)
class Repeated:
    """Two values of one member of an object."""

    first: Any
    second: Any


NUMBERS = [
    *(b"0", b"-1", b"1.5", b"1e999", b"NaN", b"-Infinity", b"9" * 30, b"9" * 400, b"9" * 5000, b"9007199254740992"),
]
STRINGS = [
    *(b'""', b'"\\ud83d"', b'"\\u0000"', b'"../../etc/passwd"', b'"/etc/passwd"', b'"a b"', b'"A"', b'"\\r\\nX: y"'),
    *(b'"sha256:"', b'"sha512:' + b"a" * 128 + b'"', b'"sha256:' + b"0" * 64 + b'"', b'"sha256:../../../etc/passwd"'),
    *(b'"' + b"x" * 300_000 + b'"', b'"\xff"', b'"\xc3\xa9"', b'"http://["'),
    *(f'"{kind}"'.encode() for kind in (OCI_INDEX, OCI_MANIFEST, OCI_CONFIG, "text/html", "a/b; c=d")),
]
OTHERS = [
    *(b"null", b"true", b"[]", b"{}", b"[[]]", b"[null]", b'{"a": []}', b"x", b""),
    *(b"[" * 3000 + b"]" * 3000, b'{"a":' * 900 + b"1" + b"}" * 900, b"[" * 100_000),
]
KEYS = ["mediaType", "digest", "size", "annotations", "platform", "config", "layers", "manifests", "subject", "urls"]

hostile_values = st.one_of(
    st.sampled_from(NUMBERS + STRINGS + OTHERS).map(Raw),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=20)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)),
        max_leaves=5,
    ),
)


@st.composite
def documents(draw: st.DrawFn, value: Any) -> bytes:
    """The JSON document ``value``, most often with an invalid change."""
    for _change in range(draw(st.sampled_from([0, 1, 1, 2]))):
        value = draw(_changed(value))
    return as_document(value)


@st.composite
def _changed(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        how = draw(st.sampled_from(["within", "within", "missing", "renamed", "repeated", "more"]))
        rest = {name: inner for name, inner in value.items() if name != key}
        if how == "missing":
            return rest
        if how == "renamed":
            return {**rest, draw(st.sampled_from([*KEYS, key.upper()])): value[key]}
        if how == "repeated":
            return {**rest, key: Repeated(value[key], draw(_changed(value[key])))}
        if how == "more":
            return {**value, draw(st.sampled_from(KEYS)): draw(hostile_values)}
        return {**rest, key: draw(_changed(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        index = draw(st.integers(0, len(value) - 1))
        how = draw(st.sampled_from(["within", "within", "missing", "repeated"]))
        if how == "missing":
            return value[:index] + value[index + 1 :]
        if how == "repeated":
            return value * draw(st.sampled_from([2, 10]))
        return [*value[:index], draw(_changed(value[index])), *value[index + 1 :]]
    # Wrong values of the right type pass more checks than values of another type.
    same = NUMBERS if isinstance(value, int) else STRINGS if isinstance(value, str) else OTHERS
    return draw(st.one_of(st.sampled_from(same).map(Raw), hostile_values))


def as_document(value: Any) -> bytes:
    """Return the JSON document ``value``, invalid only where it has :class:`Raw` and :class:`Repeated`."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Repeated):
        # Nested.
        return as_document(value.second)
    if isinstance(value, list):
        return b"[" + b",".join(map(as_document, value)) + b"]"
    if isinstance(value, dict):
        members = []
        for key, inner in value.items():
            each = (inner.first, inner.second) if isinstance(inner, Repeated) else (inner,)
            members += [json.dumps(key).encode() + b":" + as_document(one) for one in each]
        return b"{" + b",".join(members) + b"}"
    return json.dumps(value).encode()


@dataclass(frozen=True)
class Hostile:
    """An image, valid or not.

    Attributes:
        contents: Its manifests and blobs, by digest.
        root: The bytes of its index.
        layout: Its ``index.json``.
        listing: Its ``manifest.json``.
        valid: Whether the image is valid.
    """

    contents: dict[str, bytes]
    root: bytes
    layout: bytes
    listing: bytes
    valid: bool

    @property
    def files(self) -> dict[str, bytes]:
        """The files of an archive with this image."""
        blobs = {f"blobs/{digest.replace(':', '/')}": content for digest, content in self.contents.items()}
        return {"oci-layout": b"{}", "index.json": self.layout, "manifest.json": self.listing, **blobs}


def _assemble(
    write: Callable[[Any], bytes], with_platforms: Sequence[bool], nesting: Sequence[int], signs_index: bool
) -> Hostile:
    """Return an image of two platforms with a signature.

    Args:
        write: Encodes a JSON document of the image, valid or not.
        with_platforms: Whether the index states the platform of each manifest.
        nesting: How often each index between the root and the manifests is listed, the innermost first.
        signs_index: Whether the signature refers to the index.
    """
    contents: dict[str, bytes] = {}
    valid = len(nesting) < MAXIMUM_DEPTH

    def keep(content: bytes) -> bytes:
        contents[digest_of(content)] = content
        return content

    def document(value: Any) -> bytes:
        nonlocal valid
        content = write(value)
        valid = valid and content == as_document(value)
        return content

    listed: dict[str, list[bytes]] = {}
    manifests, entries = [], []
    for architecture, with_platform in zip(("amd64", "arm64"), with_platforms):
        image = make_image(architecture=architecture)
        config = keep(document(json.loads(image.config)))
        layer = keep(image.contents[image.layers[0]])
        listed[architecture] = [config, layer]
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": describe(config, OCI_CONFIG),
            "layers": [describe(layer, OCI_LAYER_GZIP)],
        }
        manifests.append(keep(document(manifest)))
        entry = describe(manifests[-1], OCI_MANIFEST, platform={"os": "linux", "architecture": architecture})
        if not with_platform:
            del entry["platform"]
        entries.append(entry)
    for times in nesting:
        nested = keep(document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
        entries = [describe(nested, OCI_INDEX)] * times
    root = keep(document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
    signature = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": describe(keep(b"{}"), "application/vnd.oci.empty.v1+json"),
        "layers": [],
        "subject": describe(root if signs_index else manifests[0], OCI_INDEX),
    }
    signatures = keep(document(signature))
    named = describe(root, OCI_INDEX, annotations={REFERENCE_NAME: "example.com/app:1"})
    layout = document({"schemaVersion": 2, "manifests": [named, describe(signatures, OCI_MANIFEST)]})
    config_path, layer_path = (f"blobs/sha256/{digest_of(part)[7:]}" for part in listed["amd64"])
    listing = document([{"Config": config_path, "RepoTags": ["example.com/app:1"], "Layers": [layer_path]}])
    return Hostile(contents, root, layout, listing, valid)


@st.composite
def hostile_images(draw: st.DrawFn) -> Hostile:
    """Images of two platforms with a signature, valid or not."""
    nesting = [draw(st.sampled_from([1, 30])) for _level in range(draw(st.sampled_from([0, 0, 1, 10])))]
    hostile = _assemble(
        lambda value: draw(documents(value)),
        [draw(st.booleans()) for _platform in range(2)],
        nesting,
        draw(st.booleans()),
    )
    for digest in draw(st.lists(st.sampled_from(sorted(hostile.contents)), max_size=1)):
        content = hostile.contents[digest]
        other = draw(st.sampled_from([b"", b"other", content[:-1], content + b" "]))
        hostile = replace(hostile, contents={**hostile.contents, digest: other}, valid=False)
    return hostile


@dataclass(frozen=True)
class HostileArchive:
    """An archive, valid or not.

    Attributes:
        content: The bytes.
        valid: Whether the archive is valid.
        compressed: Whether it is compressed.
    """

    content: bytes
    valid: bool = True
    compressed: bool = False


@st.composite
def hostile_archives(draw: st.DrawFn) -> HostileArchive:
    """Tar archives of images, with changed bytes, fields and entries."""
    image = draw(hostile_images())
    files = image.files
    archive = bytearray(tar(*(files.items() if draw(st.booleans()) else reversed(files.items()))))
    unchanged = bytes(archive)
    for _change in range(draw(st.sampled_from([0, 1, 3]))):
        blocks = len(archive) // 512
        block = draw(st.integers(0, max(blocks - 1, 0))) * 512
        how = draw(st.sampled_from(["byte", "field", "cut", "missing", "repeated", "moved"]))
        if how == "byte" and archive:
            archive[draw(st.integers(0, len(archive) - 1))] = draw(st.integers(0, 255))
        elif how == "field" and blocks:
            _overwrite(archive, block, *draw(_FIELDS))
        elif how == "cut":
            del archive[draw(st.integers(0, len(archive))) :]
        elif how == "missing":
            del archive[block : block + 512]
        elif how == "repeated":
            archive[block:block] = archive[block : block + 512] * draw(st.sampled_from([1, 100]))
        elif how == "moved":
            archive += archive[block : block + 512]
    valid = image.valid and archive == unchanged
    return HostileArchive(bytes(archive), valid) if draw(st.booleans()) else draw(_compressed(bytes(archive), valid))


@st.composite
def _compressed(draw: st.DrawFn, archive: bytes, valid: bool) -> HostileArchive:
    """A compressed file with two members or frames, possibly damaged."""
    middle = draw(st.integers(0, len(archive)))
    compress = draw(st.sampled_from(_COMPRESSIONS))
    compressed = bytearray(compress(archive[:middle]) + compress(archive[middle:]))
    unchanged = bytes(compressed)
    for _change in range(draw(st.sampled_from([0, 0, 1]))):
        if draw(st.booleans()):
            compressed[draw(st.integers(0, len(compressed) - 1))] = draw(st.integers(0, 255))
        else:
            del compressed[draw(st.integers(0, len(compressed))) :]
    rest = draw(st.sampled_from([b"", b"", b"\x1f\x8b", bytes(1000)]))
    # Padding is usual after gzip only.
    padded = not rest.strip(b"\0") if compress is gzip.compress else not rest
    return HostileArchive(bytes(compressed) + rest, valid and compressed == unchanged and padded, True)


def _zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


_COMPRESSIONS: list[Callable[[bytes], bytes]] = [gzip.compress, gzip.compress, _zstd, lzma.compress, bz2.compress]


_NUMBERS = [b"", b"0", b"-1", b"77777777777", b"1_0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"\x80" + bytes(11), b"9"]
_NAMES = [b"", b".", b"..", b"../x", b"/x", b"x" * 100, b"\xff\xfe", b"index.json", b"blobs", b"././@LongLink"]
_FIELDS = st.one_of(
    st.tuples(st.just((124, 136)), st.sampled_from(_NUMBERS)),
    st.tuples(st.just((0, 100)), st.sampled_from(_NAMES)),
    st.tuples(st.just((157, 257)), st.sampled_from(_NAMES)),
    st.tuples(st.just((345, 500)), st.sampled_from(_NAMES)),
    st.tuples(st.just((156, 157)), st.sampled_from([bytes([kind]) for kind in b"\x000123456789LKxgSVAX "])),
    st.tuples(st.just((257, 265)), st.sampled_from([b"ustar\x0000", b"ustar  ", b""])),
)


def _overwrite(archive: bytearray, block: int, field: tuple[int, int], value: bytes) -> None:
    """Change a header's field and update the checksum."""
    first, after = field
    archive[block + first : block + after] = value.ljust(after - first, b"\0")
    archive[block + 148 : block + 156] = b" " * 8
    archive[block + 148 : block + 156] = b"%06o\0 " % (sum(archive[block : block + 512]) & 0o777777)


VALID_IMAGE = _assemble(as_document, (True, True), (), signs_index=True)
"""A valid image."""
VALID_ARCHIVE = HostileArchive(tar(*VALID_IMAGE.files.items()))
"""A valid archive."""
