# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client of one registry, over any requests session (OCI distribution specification 1.1).

Requests of the cluster's registry, of upstream registries and of mirrors are all sent here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import K8scrError
from ..http.bandwidth import Bandwidth
from ..http.retry import Retries
from ..oci.content import Blocks
from .chunk_size import ChunkSize
from .error_responses import error_of
from .upload_state import NO_RECORDS, UploadRecords

if TYPE_CHECKING:
    import requests


class Registry:
    """A registry.

    Args:
        session: Sends the requests.
        url: The URL before ``/v2/``.
        description: The registry's name in messages.
        timeouts: Seconds to wait for a connection, and for the next byte.
        retries: The retry policy.
        chunks: The maximum size of upload requests.
        bandwidth: The limit for bodies; None for no limit.
        records: Saved states of uploads, which later runs resume.
        identity: Distinguishes this registry from others.
    """

    def __init__(
        self,
        session: requests.Session,
        url: str,
        description: str = "the registry",
        timeouts: tuple[float, float] = (10.0, 60.0),
        retries: Retries | None = None,
        chunks: ChunkSize | None = None,
        bandwidth: Bandwidth | None = None,
        records: UploadRecords = NO_RECORDS,
        identity: str = "",
    ) -> None:
        self.description = description
        self.retries = retries or Retries()
        self.chunks = chunks or ChunkSize()
        self.records = records
        self.identity = identity or url
        self._bandwidth = bandwidth
        self._session = session
        self._url = url
        self._timeouts = timeouts

    def commit(self) -> None:
        """Do nothing: each upload takes effect at once."""

    def abandon(self, resumable: bool = False) -> bool:
        """Keep uploaded blobs: no image refers to them, and the next run does not upload them again."""
        return False

    def close(self) -> None:
        """Do nothing: the caller closes the session."""

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send one request without following redirects.

        Args:
            method: The HTTP method.
            path: Path and query, beginning with ``/v2/``.
            options: Options of requests.
        """
        return self._session.request(
            method,
            self._url + path,
            allow_redirects=False,
            timeout=self._timeouts,
            stream=True,
            **{**options, "headers": {"Accept-Encoding": "identity", **options.get("headers", {})}},
        )

    def limit(self, blocks: Blocks) -> Blocks:
        """Yield a body's blocks, no faster than the bandwidth."""
        return self._bandwidth.limit(blocks) if self._bandwidth else blocks

    def request_with_retries(
        self, method: str, path: str, failure: str, accepted: tuple[int, ...], **options: Any
    ) -> requests.Response:
        """Send a request that may be repeated, because it changes nothing or is idempotent.

        Args:
            method: The HTTP method.
            path: Path and query, beginning with ``/v2/``.
            failure: The beginning of the error message, such as "manifest sha256:… cannot be read".
            accepted: The status codes to return; others are errors.
            options: Options of requests.

        Raises:
            K8scrError: The registry returned an error response, or the request has failed for too long.
        """
        attempts = self.retries.begin(failure)
        while True:
            try:
                response = self.request(method, path, **options)
                if response.status_code not in accepted:
                    raise error_of(response, failure, self.description)
            except K8scrError as error:
                attempts.wait_or_raise(error)
            else:
                attempts.note_progress()
                return response
