# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client of one registry: the cluster's, an upstream registry or a mirror (OCI distribution specification 1.1)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from ..errors import RegistryError
from ..http.bandwidth import Bandwidth
from ..http.retry import Retries
from ..oci.content import Blocks
from .error_responses import error_of
from .response import RegistryResponse, receive
from .upload_state import NO_RECORDS, UploadRecords

if TYPE_CHECKING:
    import requests

MOST_PAGES = 1000
"""Pages of a list."""
SMALLEST_CHUNK = 1 << 20
"""Bytes; smaller requests are not tried, because a proxy that rejects these is useless for images."""


class ChunkSize:
    """The maximum bytes of one request, or None. All uploads of a task share it: the same proxies limit them."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self._lock = threading.Lock()

    def halve(self, tried: int) -> bool:
        """Reduce the size to half of the bytes of a failed request. Return whether a smaller size is possible."""
        if tried <= SMALLEST_CHUNK:
            return False
        smaller = max(SMALLEST_CHUNK, tried // 2)
        with self._lock:
            self.size = min(self.size or smaller, smaller)
        return True


@dataclass(eq=False)
class Registry:
    """A registry.

    Attributes:
        url: The URL before ``/v2/``.
        description: The registry's name in messages.
        timeouts: Seconds to wait for a connection, and for the next byte.
        chunks: The maximum size of upload requests.
        bandwidth: The limit for bodies; None for no limit.
        records: Saved states of uploads, which later runs resume.
        identity: Distinguishes this registry from others; by default the URL.
        peers: The names of the servers that can interrupt a response, in messages; by default the description.
    """

    session: requests.Session
    url: str
    description: str = "the registry"
    timeouts: tuple[float, float] = (10.0, 60.0)
    retries: Retries = field(default_factory=Retries)
    chunks: ChunkSize = field(default_factory=ChunkSize)
    bandwidth: Bandwidth | None = None
    records: UploadRecords = NO_RECORDS
    identity: str = ""
    peers: str = ""

    def __post_init__(self) -> None:
        self.peers = self.peers or self.description
        self.identity = self.identity or self.url

    def commit(self) -> None:
        """Do nothing: each upload takes effect at once."""

    def abandon(self, resumable: bool = False) -> bool:
        """Keep uploaded blobs: no image refers to them, and the next run does not upload them again."""
        return False

    def close(self) -> None:
        """Do nothing: the caller closes the session."""

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send one request to a path that begins with ``/v2/``, without following redirects; the body is unread."""
        return self.session.request(
            method,
            self.url + path,
            allow_redirects=False,
            timeout=self.timeouts,
            stream=True,
            **{**options, "headers": {"Accept-Encoding": "identity", **options.get("headers", {})}},
        )

    def exchange(self, method: str, path: str, **options: Any) -> RegistryResponse:
        """Send one request as :meth:`request` does, and read the response's small body.

        Raises:
            K8scrError: The request failed; an error response is no failure.
        """
        return receive(self.request(method, path, **options), self.peers)

    def limit(self, blocks: Blocks) -> Blocks:
        """Yield a body's blocks, no faster than the bandwidth."""
        return self.bandwidth.limit(blocks) if self.bandwidth else blocks

    def request_with_retries(
        self, method: str, path: str, failure: str, accepted: tuple[int, ...], **options: Any
    ) -> RegistryResponse:
        """Send a request that may be repeated, because it changes nothing or is idempotent, and read the response.

        Args:
            failure: The beginning of the error message, such as "manifest sha256:… cannot be read".
            accepted: The status codes to return; others are errors.

        Raises:
            K8scrError: The registry returned an error response, or the request has failed for too long.
        """

        def attempt() -> RegistryResponse:
            response = self.exchange(method, path, **options)
            if response.status_code not in accepted:
                raise error_of(response, failure, self.description)
            return response

        return self.retries.run(failure, attempt)

    def request_pages(
        self, path: str, failure: str, accepted: tuple[int, ...], query: str = "", **options: Any
    ) -> Iterator[RegistryResponse]:
        """Yield the response for each page of a list (RFC 8288, "Web Linking").

        ``query`` is that of the first page. The other arguments and errors are those of :meth:`request_with_retries`.

        Raises:
            RegistryError: The next page is not part of this list, so it is not requested; or there are too many pages.
        """
        page = f"{path}{query}"
        for _number in range(MOST_PAGES):
            response = self.request_with_retries("GET", page, failure, accepted, **options)
            yield response
            if not response.next_page:
                return
            # The host does not matter: all requests go to this registry.
            try:
                address = urlsplit(urljoin(page, response.next_page))
            except ValueError:
                address = urlsplit("")
            if address.path != path:
                raise RegistryError(f"{failure}: the next page of {self.description} is not part of the list")
            page = f"{path}?{address.query}"
        raise RegistryError(f"{failure}: {self.description} returned more than {MOST_PAGES} pages")
