# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Uploading a blob by a session that goes on where it was cut (OCI distribution specification, "Pushing blobs")."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from ..errors import ConnectionLostError, DigestMismatchError, K8scrError, RegistryError
from ..http.retry import Attempts
from ..oci.content import BLOCK_SIZE, BlobContent, Blocks
from ..oci.descriptor import Descriptor
from .error_responses import let_go, refusal
from .road import RegistryRoad
from .upload_state import UploadFile

if TYPE_CHECKING:
    import requests

SMALLEST_CHUNK = 1 << 20
"""Bytes below which a request is not made smaller: what cannot carry these carries no image."""

_UPLOAD_PATH = re.compile(r"/v2/(?P<repository>.+)/blobs/uploads/(?!\.\.?/?$)[^/]+/?")
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")
_TOO_LARGE = (413, 502, 504)
_SESSION_LOST = (404, 416)
_CUTS_UNTIL_SMALLER = 2
_NEW_SESSIONS = 3
"""How often an upload is begun anew because the registry has lost it, or what it kept of it is damaged."""


class ChunkSize:
    """How many bytes a request may carry, for all uploads of a task: what is between limits them all alike.

    Args:
        size: Bytes; None for as many as there are.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self._lock = threading.Lock()

    def halve(self, tried: int) -> bool:
        """Make requests smaller than one of ``tried`` bytes, which did not get through; whether that is possible."""
        if tried <= SMALLEST_CHUNK:
            return False
        smaller = max(SMALLEST_CHUNK, tried // 2)
        with self._lock:
            self.size = min(self.size or smaller, smaller)
        return True


class BlobUpload:
    """One blob on its way into a repository.

    A PATCH is never sent again blindly: after whatever went wrong, the registry is asked how far it got.

    Args:
        road: The registry.
        repository: The repository.
        descriptor: The blob.
        content: Opens its content.
        chunks: How much a request may carry.
        attempts: When to try again.
        record: What is remembered of it.
    """

    def __init__(
        self,
        road: RegistryRoad,
        repository: str,
        descriptor: Descriptor,
        content: BlobContent,
        chunks: ChunkSize,
        attempts: Attempts,
        record: UploadFile,
    ) -> None:
        self._road = road
        self._repository = repository
        self._descriptor = descriptor
        self._content = content
        self._chunks = chunks
        self._attempts = attempts
        self._record = record
        self._what = f"blob {descriptor.digest} cannot be uploaded to {repository}"
        self._location = self._own_upload(record.location or "")
        self._offset = 0
        self._furthest = 0
        self._cuts = 0
        self._mounted = False
        self._has_past = self._location is not None
        """Whether something may be there: of a session of an earlier run, or of one in which a request failed."""

    def run(self, mount_from: str | None = None) -> bool:
        """Upload it, or have the registry take it over from another of its repositories.

        Args:
            mount_from: A repository that may have it.

        Returns:
            Whether it was mounted, so that nothing was sent.

        Raises:
            K8scrError: It cannot be done, or has gone on failing for too long.
        """
        while True:
            try:
                if self._has_past and self._find_offset():
                    break
                if self._location is None and self._open(mount_from):
                    break
                self._send()
                self._finish()
                break
            except K8scrError as error:
                if not isinstance(error, ConnectionLostError):
                    # Who is away after a cut has died, and has no limit that smaller requests would stay below.
                    self._cuts = 0
                self._attempts.failed(error)
                # Until the registry has been asked: its answer may be lost as well.
                self._has_past = self._has_past or self._location is not None
        self._attempts.worked()
        self._record.forget()
        return self._mounted

    def _open(self, mount_from: str | None) -> bool:
        query = "?" + urlencode({"mount": self._descriptor.digest, "from": mount_from}) if mount_from else ""
        path = f"/v2/{self._repository}/blobs/uploads/{query}"
        response = self._road.request("POST", path, headers={"Content-Length": "0"})
        if response.status_code == 201 and mount_from:
            let_go(response)
            self._mounted = True
            return True
        self._offset = 0
        self._follow(response)
        self._has_past = False
        return False

    def _find_offset(self) -> bool:
        """Ask where the upload goes on; whether it is there already.

        What answers a request may be lost after the request was carried out, the last one too.
        """
        if self._location is not None:
            response = self._road.request("GET", self._location)
            if response.status_code == 204:
                written = _RANGE.fullmatch(response.headers.get("Range", ""))
                # An empty upload and one of one byte look alike; no cut leaves just one.
                self._offset = int(written[1]) + 1 if written and written[1] != "0" else 0
                self._follow(response)
                return False
            error = refusal(response, self._what, self._road.description)
            if error.transient:
                raise error
            self._forget_session()
        response = self._road.request("HEAD", f"/v2/{self._repository}/blobs/{self._descriptor.digest}")
        if response.status_code not in (200, 404):
            raise refusal(response, self._what, self._road.description)
        let_go(response)
        return response.status_code == 200

    def _forget_session(self) -> None:
        self._location, self._offset = None, 0
        self._record.forget()

    def _send(self) -> None:
        size = self._descriptor.size
        # What is small goes with the request that ends the upload.
        while self._offset < size and (self._offset or size > BLOCK_SIZE):
            length = min(size - self._offset, self._chunks.size or size)
            headers = {"Content-Range": f"{self._offset}-{self._offset + length - 1}"}
            with self._content(self._offset) as blocks:
                body = KnownBody(self._limited(blocks, length), length)
                response = self._carry("PATCH", self._location or "", body, headers)
            self._follow(response)
            self._advance(length)

    def _advance(self, length: int) -> None:
        self._offset += length
        # What a session that was lost had once reached is no progress: else it would be begun anew for ever.
        if self._offset > self._furthest:
            self._furthest = self._offset
            self._attempts.worked()

    def _finish(self) -> None:
        location = self._location or ""
        path = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': self._descriptor.digest})}"
        if self._offset < self._descriptor.size:
            with self._content(0) as blocks:
                size = self._descriptor.size
                response = self._carry("PUT", path, KnownBody(self._limited(blocks, size), size))
        else:
            response = self._carry("PUT", path)
        if response.status_code not in (201, 204):
            raise self._refused(response)
        let_go(response)

    def _limited(self, blocks: Blocks, length: int) -> Blocks:
        return self._road.limit(_exactly(blocks, length, self._content.what))

    def _carry(
        self, method: str, path: str, body: RequestBody | None = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        headers = {"Content-Type": "application/octet-stream", **(headers or {})}
        try:
            response = self._road.request(method, path, data=b"" if body is None else body, headers=headers)
        except ConnectionLostError:
            self._cuts += 1
            if body is not None and self._cuts >= _CUTS_UNTIL_SMALLER:
                # Whoever cuts after so many seconds or bytes lets through what is well below.
                self._chunks.halve(min(body.size, max(body.sent, 2 * SMALLEST_CHUNK)) if body.sent else body.size)
            raise
        if response.status_code in _TOO_LARGE:
            error = refusal(response, self._what, self._road.description)
            error.transient = (body is not None and self._chunks.halve(body.size)) or error.transient
            raise error
        return response

    def _follow(self, response: requests.Response) -> None:
        if response.status_code not in (201, 202, 204):
            raise self._refused(response)
        let_go(response)
        self._attempts.answered()
        self._location = self._own_upload(response.headers.get("Location", ""))
        if self._location is None:
            raise RegistryError(
                f"{self._what}: {self._road.description} sent us to a place that is not an upload of this repository",
                "The registry is at fault, or is not a registry",
            )
        self._record.remember(self._location)

    def _own_upload(self, address: str) -> str | None:
        """Path and query of an upload to this repository; None where an address leads elsewhere."""
        try:
            parts = urlsplit(address)
        except ValueError:
            return None
        match = _UPLOAD_PATH.fullmatch(parts.path)
        if match is None or match["repository"] != self._repository:
            return None
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def _refused(self, response: requests.Response) -> K8scrError:
        error = refusal(response, self._what, self._road.description)
        lost = error.status in _SESSION_LOST
        refused: K8scrError = error
        if "DIGEST_INVALID" in error.codes:
            # Of a session with a past not everything may have been kept as it was sent.
            refused, lost = DigestMismatchError(error.message), self._has_past
        if self._location is not None and lost:
            self._forget_session()
            refused.transient, refused.tries = True, _NEW_SESSIONS
        return refused


class RequestBody:
    """A request's body whose length shows at its end: requests sends it in chunks, the last of which is marked.

    Attributes:
        sent: How many bytes the connection has taken.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.sent = 0
        self._blocks = blocks

    def __iter__(self) -> Blocks:
        for block in self._blocks:
            yield block
            self.sent += len(block)

    @property
    def size(self) -> int:
        """Its bytes, as far as that is known."""
        return self.sent


class KnownBody(RequestBody):
    """A body of known length: requests sends ``Content-Length``, http.client the blocks as they come."""

    def __init__(self, blocks: Blocks, length: int) -> None:
        super().__init__(blocks)
        self._length = length

    @property
    def size(self) -> int:
        """Its bytes."""
        return self._length

    def __len__(self) -> int:
        return self._length


def _exactly(blocks: Blocks, length: int, what: str) -> Blocks:
    """The first ``length`` bytes of a content: after them the connection carries the next request.

    Raises:
        DigestMismatchError: There are fewer, for which the registry would wait.
    """
    missing = length
    while missing:
        block = next(blocks, None)
        if block is None:
            raise DigestMismatchError(f"{what} ended after {length - missing} of {length} bytes")
        yield block[:missing]
        missing -= len(block[:missing])
