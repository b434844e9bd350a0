# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hostile responses of registries, and limits of time, memory and error messages for reading them."""

from __future__ import annotations

import os
import signal
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from .hostile_images import documents
from .registry_server import Response

EXAMPLES = int(os.environ.get("K8SCR_FUZZ_EXAMPLES", "0"))
"""The number of examples of each test; by default a few, the same in every run."""

fuzzed = settings(
    max_examples=EXAMPLES or 12,
    derandomize=not EXAMPLES,
    # No shrinking: it takes minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

_SECONDS = 20
"""The time limit of one example."""
_MEMORY = 48 << 20
"""The limit of memory in bytes. Examples have kilobytes; blocks have a mebibyte."""
_LONGEST_ERROR = 4000


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
class HostileResponse:
    """Changes to a registry's response.

    Attributes:
        method: The method of the requests.
        path: A part of the requests' paths.
        status: The status; None for the original one.
        headers: Replaced or added headers.
        body: The body; None for the original one.
        times: The number of changed responses.
    """

    method: str
    path: str
    status: int | None
    headers: dict[str, str]
    body: bytes | None
    times: int

    def apply(self, response: Response) -> Response:
        """Return the changed response. It closes the connection, so that clients do not wait for missing content."""
        headers = {**response.headers, **self.headers, "Connection": "close"}
        body = response.body if self.body is None else self.body
        return Response(self.status or response.status, headers, body)


@st.composite
def hostile_responses(draw: st.DrawFn, *verbs: str) -> HostileResponse:
    """Hostile responses to requests with these methods."""
    method, path = draw(st.sampled_from([request for request in _REQUESTS if request[0] in verbs]))
    names = draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=2))
    headers = {name: draw(st.sampled_from(HEADERS[name])) for name in names}
    body = draw(st.one_of(st.none(), st.none(), st.sampled_from([b"", b"x", b"0\r\n\r\n", b"x" * (5 << 20)]), _errors))
    status = draw(st.one_of(st.none(), st.none(), st.sampled_from(_STATUSES)))
    return HostileResponse(method, path, status, headers, body, draw(st.sampled_from([1, 2, 1_000_000])))


_errors = documents({"errors": [{"code": "UNKNOWN", "message": "no", "detail": {"a": "b"}}]})


@contextmanager
def bounds(valid: bool) -> Iterator[None]:
    """Require that the code ends within the limits of time and memory, and fails with one line if at all.

    Args:
        valid: Whether the content is valid, so that the code must not fail.
    """

    def give_up(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"it did not end within {_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_SECONDS)
    tracemalloc.start()
    try:
        with error_allowed(valid):
            yield
    finally:
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert used < _MEMORY


@contextmanager
def error_allowed(valid: bool) -> Iterator[None]:
    """Allow an error of one line, unless the content is valid."""
    try:
        yield
    except K8scrError as error:
        if valid:
            raise
        require_one_line(str(error))


def require_one_line(text: str) -> None:
    """Require that an error is one printable line of limited length."""
    assert text.isprintable()
    assert len(text) < _LONGEST_ERROR
