# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry, over any requests session (OCI distribution specification 1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import K8scrError
from ..http.bandwidth import Bandwidth
from ..http.retry import Retries
from ..oci.content import Blocks
from .error_responses import refusal
from .upload import ChunkSize
from .upload_state import NO_RECORDS, UploadRecords

if TYPE_CHECKING:
    import requests

_PATIENCE = 120.0
"""Seconds that something may go on failing, unless the user says otherwise."""


class Registry:
    """A registry.

    Args:
        session: How its requests travel.
        url: What its requests begin with, without ``/v2/``.
        description: What it is, for people.
        timeouts: Seconds to wait for a connection, and for the next byte.
        retries: When to try again what has failed.
        chunks: How many bytes a request may carry.
        bandwidth: How fast bodies may flow; None for as fast as they can.
        records: What is remembered of uploads from run to run.
        identity: Tells this registry from all others.
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
        self.retries = retries or Retries(_PATIENCE)
        self.chunks = chunks or ChunkSize()
        self.records = records
        self.identity = identity or url
        self._bandwidth = bandwidth
        self._session = session
        self._url = url
        self._timeouts = timeouts

    def commit(self) -> None:
        """Everything is in its place already."""

    def abandon(self, resumable: bool = False) -> bool:
        """Whole blobs stay: no image names them, and the next run need not send them again."""
        return False

    def close(self) -> None:
        """Its session is somebody else's to close."""

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send one request; redirects are answers like any other, never followed.

        Args:
            method: The HTTP verb.
            path: Path and query, from ``/v2/`` on.
            options: Whatever requests takes.
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
        """Pass a body's blocks on, as fast as may be."""
        return self._bandwidth.limit(blocks) if self._bandwidth else blocks

    def ask(self, method: str, path: str, what: str, accepted: tuple[int, ...], **options: Any) -> requests.Response:
        """Send a request that may be sent again: one that changes nothing, or whose repetition does no harm.

        Args:
            method: The HTTP verb.
            path: Path and query, from ``/v2/`` on.
            what: What it is for, for people, as in "manifest sha256:… cannot be read".
            accepted: The status codes that are answers; all others are refusals.
            options: Whatever requests takes.

        Raises:
            K8scrError: It is refused, or has gone on failing for too long.
        """
        attempts = self.retries.begin(what)
        while True:
            try:
                response = self.request(method, path, **options)
                if response.status_code not in accepted:
                    raise refusal(response, what, self.description)
            except K8scrError as error:
                attempts.failed(error)
            else:
                attempts.worked()
                return response
