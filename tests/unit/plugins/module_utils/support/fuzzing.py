# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images and archives with something wrong in them, and the bounds that whoever reads them has to keep to.

What is wrong is wrong from the bottom up: the digests that lead to it are right, so that it is read.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils.errors import K8scrError
from ansible_collections.k8scr.core.plugins.module_utils.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils.oci.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from .images import OCI_LAYER_GZIP, REFERENCE_NAME, describe, make_image, tar
from .registry_server import Answer

EXAMPLES = int(os.environ.get("K8SCR_FUZZ_EXAMPLES", "0"))
"""How many examples each test tries; without it a few, the same in every run."""

fuzzed = settings(
    max_examples=EXAMPLES or 12,
    derandomize=not EXAMPLES,
    # A failure is to be understood by the reader; making it smaller takes minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

_SECONDS = 20
"""More than any of these small examples takes, and less than for ever."""
_MEMORY = 48 << 20
"""Bytes: the examples have kilobytes, and blocks that are read have a mebibyte."""
_LONGEST_ERROR = 4000


@dataclass(frozen=True)
class Raw:
    """A piece of JSON that no encoder writes."""

    text: bytes


@dataclass(frozen=True)
class Twice:
    """A member of an object that is there twice."""

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
    """The JSON document ``value``, most often with something wrong in it."""
    for _change in range(draw(st.sampled_from([0, 1, 1, 2]))):
        value = draw(_changed(value))
    return _encode(value)


@st.composite
def _changed(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        how = draw(st.sampled_from(["within", "within", "lacking", "renamed", "twice", "more"]))
        rest = {name: inner for name, inner in value.items() if name != key}
        if how == "lacking":
            return rest
        if how == "renamed":
            return {**rest, draw(st.sampled_from([*KEYS, key.upper()])): value[key]}
        if how == "twice":
            return {**rest, key: Twice(value[key], draw(_changed(value[key])))}
        if how == "more":
            return {**value, draw(st.sampled_from(KEYS)): draw(hostile_values)}
        return {**rest, key: draw(_changed(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        place = draw(st.integers(0, len(value) - 1))
        how = draw(st.sampled_from(["within", "within", "lacking", "again and again"]))
        if how == "lacking":
            return value[:place] + value[place + 1 :]
        if how == "again and again":
            return value * draw(st.sampled_from([2, 10]))
        return [*value[:place], draw(_changed(value[place])), *value[place + 1 :]]
    # What is of the right kind and wrong gets further than what is of another.
    same = NUMBERS if isinstance(value, int) else STRINGS if isinstance(value, str) else OTHERS
    return draw(st.one_of(st.sampled_from(same).map(Raw), hostile_values))


def _encode(value: Any) -> bytes:
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Twice):
        # Within another one.
        return _encode(value.second)
    if isinstance(value, list):
        return b"[" + b",".join(map(_encode, value)) + b"]"
    if isinstance(value, dict):
        members = []
        for key, inner in value.items():
            each = (inner.first, inner.second) if isinstance(inner, Twice) else (inner,)
            members += [json.dumps(key).encode() + b":" + _encode(one) for one in each]
        return b"{" + b",".join(members) + b"}"
    return json.dumps(value).encode()


@dataclass(frozen=True)
class Hostile:
    """An image with something wrong in it.

    Attributes:
        contents: What it consists of, by digest.
        root: The bytes of its index.
        layout: Its ``index.json``.
        listing: Its ``manifest.json``.
    """

    contents: dict[str, bytes]
    root: bytes
    layout: bytes
    listing: bytes

    @property
    def files(self) -> dict[str, bytes]:
        """The files of an archive that has it."""
        blobs = {f"blobs/{digest.replace(':', '/')}": content for digest, content in self.contents.items()}
        return {"oci-layout": b"{}", "index.json": self.layout, "manifest.json": self.listing, **blobs}


@st.composite
def hostile_images(draw: st.DrawFn) -> Hostile:
    """Images of two platforms with a signature, in which nothing or anything is wrong."""
    contents: dict[str, bytes] = {}

    def keep(content: bytes) -> bytes:
        contents[digest_of(content)] = content
        return content

    manifests, entries = [], []
    for architecture in ("amd64", "arm64"):
        image = make_image(architecture=architecture)
        config = keep(draw(documents(json.loads(image.config))))
        layer = keep(image.contents[image.layers[0]])
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": describe(config, OCI_CONFIG),
            "layers": [describe(layer, OCI_LAYER_GZIP)],
        }
        manifests.append(keep(draw(documents(manifest))))
        entry = describe(manifests[-1], OCI_MANIFEST, platform={"os": "linux", "architecture": architecture})
        if draw(st.booleans()):
            del entry["platform"]
        entries.append(entry)
    for _level in range(draw(st.sampled_from([0, 0, 1, 10]))):
        nested = keep(draw(documents({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})))
        entries = [describe(nested, OCI_INDEX)] * draw(st.sampled_from([1, 30]))
    root = keep(draw(documents({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})))
    signed = draw(st.sampled_from([root, manifests[0]]))
    signature = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": describe(keep(b"{}"), "application/vnd.oci.empty.v1+json"),
        "layers": [],
        "subject": describe(signed, OCI_INDEX),
    }
    signatures = keep(draw(documents(signature)))
    named = describe(root, OCI_INDEX, annotations={REFERENCE_NAME: "example.com/app:1"})
    top = [named, describe(signatures, OCI_MANIFEST)]
    layout = draw(documents({"schemaVersion": 2, "manifests": top}))
    config_path, layer_path = (f"blobs/sha256/{digest_of(part)[7:]}" for part in (config, layer))
    listing = [{"Config": config_path, "RepoTags": ["example.com/app:1"], "Layers": [layer_path]}]
    for digest in draw(st.lists(st.sampled_from(sorted(contents)), max_size=1)):
        contents[digest] = draw(st.sampled_from([b"", b"other", contents[digest][:-1], contents[digest] + b" "]))
    return Hostile(contents, root, layout, draw(documents(listing)))


@st.composite
def hostile_archives(draw: st.DrawFn) -> bytes:
    """Tar archives of such images, or of sound ones, in which bytes, fields and entries are wrong."""
    files = draw(hostile_images()).files
    archive = bytearray(tar(*(files.items() if draw(st.booleans()) else reversed(files.items()))))
    for _change in range(draw(st.sampled_from([0, 1, 3]))):
        blocks = len(archive) // 512
        block = draw(st.integers(0, max(blocks - 1, 0))) * 512
        how = draw(st.sampled_from(["byte", "field", "cut", "lacking", "again", "moved"]))
        if how == "byte" and archive:
            archive[draw(st.integers(0, len(archive) - 1))] = draw(st.integers(0, 255))
        elif how == "field" and blocks:
            _overwrite(archive, block, *draw(_FIELDS))
        elif how == "cut":
            del archive[draw(st.integers(0, len(archive))) :]
        elif how == "lacking":
            del archive[block : block + 512]
        elif how == "again":
            archive[block:block] = archive[block : block + 512] * draw(st.sampled_from([1, 100]))
        elif how == "moved":
            archive += archive[block : block + 512]
    return bytes(archive) if draw(st.booleans()) else draw(_compressed(bytes(archive)))


@st.composite
def _compressed(draw: st.DrawFn, archive: bytes) -> bytes:
    """An archive as gzip makes it, whole or in two members, most often with something wrong in it."""
    middle = draw(st.integers(0, len(archive)))
    compressed = bytearray(gzip.compress(archive[:middle]) + gzip.compress(archive[middle:]))
    for _change in range(draw(st.sampled_from([0, 0, 1]))):
        if draw(st.booleans()):
            compressed[draw(st.integers(0, len(compressed) - 1))] = draw(st.integers(0, 255))
        else:
            del compressed[draw(st.integers(0, len(compressed))) :]
    return bytes(compressed) + draw(st.sampled_from([b"", b"", b"\x1f\x8b", bytes(1000)]))


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
    """Change a header's field, with the checksum to match."""
    first, after = field
    archive[block + first : block + after] = value.ljust(after - first, b"\0")
    archive[block + 148 : block + 156] = b" " * 8
    archive[block + 148 : block + 156] = b"%06o\0 " % (sum(archive[block : block + 512]) & 0o777777)


REALMS = [
    "",
    "http://[",
    "http://",
    "http://127.0.0.1:1/x",
    "http://127.0.0.1:99999/",
    "http://a b/",
    "ftp://x/",
    "\xe9",
]
HEADERS = {
    "Content-Length": ["", "0", "-1", "5", "9" * 20, "abc", "1_0", "+5", "5, 5", "9" * 5000],
    "Content-Range": ["", "bytes 0-1/2", "bytes 5-1/*", "bytes -1-", "bytes 99999999999-", "x"],
    "Content-Type": ["", OCI_INDEX, OCI_MANIFEST, OCI_CONFIG, "text/html", "x" * 5000, "; charset=utf-8", "\xe9"],
    "Content-Encoding": ["gzip", "deflate", "x"],
    "Transfer-Encoding": ["chunked", "gzip", "x"],
    "Docker-Content-Digest": ["", "sha256:", f"sha256:{'0' * 64}", f"sha512:{'a' * 128}", "../../x", "\xe9" * 100],
    "Location": [
        *(
            "",
            "/",
            "//",
            "http://[",
            "http://169.254.169.254/v2/",
            "/v2/other/blobs/uploads/1",
            "x" * 5000,
            "?",
            "\x01",
        ),
        *("/v2/app/blobs/uploads/../../../api", "https://user:password@[::1]:99999/v2/app/blobs/uploads/1", "\xe9"),
    ],
    "Link": [
        '</v2/app/referrers/x>; rel="next"',
        '<?n=1>; rel="next"',
        "<",
        '<http://[>; rel="next"',
        ";;,,",
        "<>;rel",
    ],
    "Range": ["", "0-0", "0-99999999999999999999", "bytes=5-1", "x", "0-" + "9" * 5000],
    "Retry-After": ["-1", "1e9", "9" * 9, "9" * 5000, "now"],
    "WWW-Authenticate": [
        "Basic",
        "Bearer",
        "Bearer realm=",
        *(f'Bearer realm="{url}",service=x' for url in REALMS),
        ",,=",
    ],
}
_STATUSES = [
    100,
    101,
    103,
    199,
    200,
    201,
    202,
    204,
    206,
    301,
    307,
    304,
    400,
    401,
    403,
    404,
    413,
    416,
    429,
    500,
    502,
    999,
]
_REQUESTS = [
    *((method, "/manifests/") for method in ("HEAD", "GET", "PUT")),
    *((method, "/blobs/sha") for method in ("HEAD", "GET")),
    *((method, "/blobs/uploads/") for method in ("POST", "PATCH", "PUT", "GET")),
    ("GET", "/referrers/"),
]


@dataclass(frozen=True)
class Lie:
    """What a registry answers that it should not.

    Attributes:
        method: The requests that are answered so,
        path: and what is in their paths.
        status: The status; None for the right one.
        headers: Headers instead of the right ones, or beside them.
        body: The body; None for the right one.
        times: How often it lies.
    """

    method: str
    path: str
    status: int | None
    headers: dict[str, str]
    body: bytes | None
    times: int

    def tell(self, answer: Answer) -> Answer:
        """What becomes of the right answer; nobody shall have to wait for what is not to come."""
        headers = {**answer.headers, **self.headers, "Connection": "close"}
        body = answer.body if self.body is None else self.body
        return Answer(self.status or answer.status, headers, body)


@st.composite
def lies(draw: st.DrawFn, *verbs: str) -> Lie:
    """What a registry may say to requests with these verbs."""
    method, path = draw(st.sampled_from([request for request in _REQUESTS if request[0] in verbs]))
    names = draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=2))
    headers = {name: draw(st.sampled_from(HEADERS[name])) for name in names}
    body = draw(st.one_of(st.none(), st.none(), st.sampled_from([b"", b"x", b"0\r\n\r\n", b"x" * (5 << 20)]), _errors))
    status = draw(st.one_of(st.none(), st.none(), st.sampled_from(_STATUSES)))
    return Lie(method, path, status, headers, body, draw(st.sampled_from([1, 2, 1_000_000])))


_errors = documents({"errors": [{"code": "UNKNOWN", "message": "no", "detail": {"a": "b"}}]})


@contextmanager
def bounds() -> Iterator[None]:
    """What reads something hostile ends soon, takes little memory, and fails in one line if it does."""

    def give_up(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"it went on for {_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_SECONDS)
    tracemalloc.start()
    try:
        yield
    except K8scrError as error:
        require_one_line(str(error))
    finally:
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert taken < _MEMORY


def require_one_line(text: str) -> None:
    """See that an error is one line that can be printed, and that nobody fills the screen with it."""
    assert text.isprintable()
    assert len(text) < _LONGEST_ERROR
