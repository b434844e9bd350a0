# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Blob uploads in a session that resumes after an interruption (OCI distribution specification, "Pushing blobs")."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from ..errors import (
    ConnectionLostError,
    DamagedPartError,
    DigestMismatchError,
    FrontProxyError,
    K8scrError,
    RegistryError,
    Retry,
    StorageFullError,
)
from ..files.compression import CompressedContent
from ..http.retry import Attempts
from ..oci.content import BLOCK_SIZE, BlobContent, Blocks, PartialContent
from ..oci.decimal import parse_decimal
from ..oci.descriptor import Descriptor
from .client import SMALLEST_CHUNK, Registry
from .error_responses import error_of
from .response import RegistryResponse
from .upload_state import UploadFile

_UPLOAD_PATH = re.compile(r"/v2/(?P<repository>.+)/blobs/uploads/(?!\.\.?/?$)[^/]+/?")
_RANGE = re.compile(r"(?:bytes=)?0-(.+)")
_TOO_LARGE = (408, 413, 502, 504, 524)
"""Status codes that may mean that the request is too large, or takes too long."""
_SESSION_UNKNOWN = 404
_SESSION_LOST = (_SESSION_UNKNOWN, 416)
_INTERRUPTIONS_UNTIL_SMALLER = 2
_NEW_SESSIONS = 3
"""Attempts with a new session, if the registry has lost the session or its data is damaged."""
_DELETED = 204
_NO_CONTENT = f"sha256:{'0' * 64}"
"""A digest that no content has."""


@dataclass(eq=False)
class BlobUpload:
    """The upload of one blob to a repository.

    After any error, the client requests the offset from the registry before it sends another PATCH.
    """

    registry: Registry
    repository: str
    descriptor: Descriptor
    content: BlobContent
    attempts: Attempts
    record: UploadFile

    def __post_init__(self) -> None:
        self._failure = f"blob {self.descriptor.digest} cannot be uploaded to {self.repository}"
        self._location = self._own_upload(self.record.location or "")
        self._offset = 0
        self._furthest = 0
        self._interruptions = 0
        self._mounted = False
        self._may_have_data = self._location is not None
        """Whether the session may contain data, because it is from an earlier run or one of its requests failed."""

    def run(self, mount_from: str | None = None) -> bool:
        """Upload the blob, or mount it from another repository that may have it. Return whether it was mounted.

        Raises:
            K8scrError: The upload failed, or retries have failed for too long.
        """
        while True:
            try:
                if self._may_have_data and self._find_offset():
                    break
                if self._location is None and self._open(mount_from):
                    break
                self._send()
                self._finish()
                break
            except K8scrError as error:
                if not isinstance(error, ConnectionLostError):
                    # If the registry is unreachable after a reset, it crashed; smaller requests would not help.
                    self._interruptions = 0
                try:
                    self.attempts.wait_or_raise(error)
                except (StorageFullError, DamagedPartError):
                    self._discard()
                    raise
                # This stays set until the registry has returned the offset, because that request may fail too.
                self._may_have_data = self._may_have_data or self._location is not None
        self.attempts.note_progress()
        self.record.forget()
        return self._mounted

    def _open(self, mount_from: str | None) -> bool:
        query = "?" + urlencode({"mount": self.descriptor.digest, "from": mount_from}) if mount_from else ""
        path = f"/v2/{self.repository}/blobs/uploads/{query}"
        response = self.registry.exchange("POST", path, headers={"Content-Length": "0"})
        if response.status_code == 201 and mount_from:
            self._mounted = True
            return True
        self._offset = 0
        self._follow(response)
        self._may_have_data = False
        return False

    def _find_offset(self) -> bool:
        """Read the offset of the session. Return whether the blob exists, because only the response was lost."""
        if self._location is not None:
            response = self.registry.exchange("GET", self._location)
            if response.status_code == 204:
                written = _RANGE.fullmatch(response.headers.get("Range", ""))
                last = parse_decimal(written[1]) if written else None
                # An empty upload and an upload of one byte look alike; an interruption never leaves just one byte.
                self._offset = last + 1 if last else 0
                self._follow(response)
                return False
            error = error_of(response, self._failure, self.registry.description)
            if error.transient:
                raise error
            self._forget_session()
        response = self.registry.exchange("HEAD", f"/v2/{self.repository}/blobs/{self.descriptor.digest}")
        # distribution 2.8 responds with 500 if a full storage left the blob incomplete; another upload repairs it.
        if response.status_code not in (200, 404, 500):
            raise error_of(response, self._failure, self.registry.description)
        return response.status_code == 200

    def _forget_session(self) -> None:
        self._location, self._offset = None, 0
        self.record.forget()

    def _discard(self) -> None:
        """Free the space of the session's data; a later session sends the blob again.

        Users of the Role for pushes may not send ``DELETE``. If the storage is completely full, distribution 3 also
        deletes data that does not match the digest in the last request.
        """
        with suppress(K8scrError):
            # The registry accepts only the location of its last response.
            self._find_offset()
        location = self._location
        if location:
            with suppress(K8scrError):
                if self.registry.exchange("DELETE", location).status_code == _DELETED:
                    location = None
        if location:
            with suppress(K8scrError):
                self.registry.exchange("PUT", _with_digest(location, _NO_CONTENT))
        self._forget_session()

    def _send(self) -> None:
        size = self.descriptor.size
        # The request that completes the upload carries a small blob.
        while self._offset < size and (self._offset or size > BLOCK_SIZE):
            length = min(self._readable(size) - self._offset, self.registry.chunks.size or size)
            headers = {"Content-Range": f"{self._offset}-{self._offset + length - 1}"}
            with self.content(self._offset) as blocks:
                body = KnownBody(self._limited(blocks, length), length)
                response = self._send_body("PATCH", self._location or "", body, headers)
            self._follow(response)
            self._advance(length)

    def _readable(self, size: int) -> int:
        """Return the end of the next request: a later run resumes the session with a part that is missing now."""
        end = self.content.end(self._offset) if isinstance(self.content, PartialContent) else size
        # Without content, opening it raises the error.
        return end if end > self._offset else size

    def _advance(self, length: int) -> None:
        self._offset += length
        # Bytes that a lost session had received are no progress; otherwise the upload could restart forever.
        if self._offset > self._furthest:
            self._furthest = self._offset
            self.attempts.note_progress()

    def _finish(self) -> None:
        path = _with_digest(self._location or "", self.descriptor.digest)
        if self._offset < self.descriptor.size:
            with self.content(0) as blocks:
                size = self.descriptor.size
                response = self._send_body("PUT", path, KnownBody(self._limited(blocks, size), size))
        else:
            response = self._send_body("PUT", path)
        if response.status_code not in (201, 204):
            raise self._error_of(response)

    def _limited(self, blocks: Blocks, length: int) -> Blocks:
        return self.registry.limit(_exactly(blocks, length, self.content.what))

    def _send_body(
        self, method: str, path: str, body: RequestBody | None = None, headers: Mapping[str, str] | None = None
    ) -> RegistryResponse:
        headers = {"Content-Type": "application/octet-stream", **(headers or {})}
        chunks = self.registry.chunks
        try:
            response = self.registry.exchange(method, path, data=b"" if body is None else body, headers=headers)
            if response.status_code in _TOO_LARGE:
                raise error_of(response, self._failure, self.registry.description)
            return response
        except (RegistryError, FrontProxyError) as error:
            if error.status in _TOO_LARGE and body is not None and chunks.halve(body.size):
                raise error.replace(retry=Retry(after=error.after)) from error
            raise
        except ConnectionLostError:
            self._interruptions += 1
            if body is not None and self._interruptions >= _INTERRUPTIONS_UNTIL_SMALLER:
                # A proxy with a time or size limit accepts requests well below that limit.
                chunks.halve(min(body.size, max(body.sent, 2 * SMALLEST_CHUNK)) if body.sent else body.size)
            raise

    def _follow(self, response: RegistryResponse) -> None:
        if response.status_code not in (201, 202, 204):
            raise self._error_of(response)
        self.attempts.note_response()
        self._location = self._own_upload(response.headers.get("Location", ""))
        if self._location is None:
            raise RegistryError(
                f"{self._failure}: {self.registry.description} returned a Location that is not an upload of this "
                "repository",
                "The registry is faulty, or is not a registry",
            )
        self.record.remember(self._location)

    def _own_upload(self, address: str) -> str | None:
        """Return path and query of an upload to this repository; None for any other address."""
        try:
            parts = urlsplit(address)
        except ValueError:
            return None
        match = _UPLOAD_PATH.fullmatch(parts.path)
        if match is None or match["repository"] != self.repository:
            return None
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def _error_of(self, response: RegistryResponse) -> K8scrError:
        error = error_of(response, self._failure, self.registry.description)
        is_damaged = "DIGEST_INVALID" in error.codes
        # A resumed session may not have kept all bytes as they were sent.
        is_lost = self._may_have_data if is_damaged else error.status in _SESSION_LOST
        retry = None
        if self._location is not None and is_lost:
            if error.status == _SESSION_UNKNOWN:
                self._forget_session()
            else:
                # distribution 3 keeps the data. In a full storage, it cannot write the last bytes, returns an offset
                # that includes them, and rejects the next request.
                self._discard()
            retry = Retry(_NEW_SESSIONS)
        return DigestMismatchError(error.message, retry=retry) if is_damaged else error.replace(retry=retry)


class CompressedUpload(BlobUpload):
    """The upload of one compressed layer. Until all of the layer is compressed, its descriptor is the probable one."""

    content: CompressedContent

    def _send(self) -> None:
        if self._offset == self.descriptor.size and self.content.descriptor:
            # All bytes have arrived, but the request that completes the upload failed.
            return
        with self.content(self._offset) as blocks:
            rest = _Rest(self.registry.limit(blocks))
            while rest.has_more():
                body = RequestBody(rest.take(self.registry.chunks.size))
                self._follow(self._send_body("PATCH", self._location or "", body))
                self._advance(body.size)
        if self.content.descriptor:
            self.descriptor = self.content.descriptor


class RequestBody:
    """A request body of unknown length: requests sends it in chunks, of which the last is marked.

    Attributes:
        sent: The bytes that the connection has accepted.
        size: The known bytes.
    """

    _is_chunked = True

    def __init__(self, blocks: Blocks) -> None:
        self.sent = 0
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for block in self._blocks:
            # urllib3 before version 2 accepts only bytes as chunks.
            yield bytes(block) if self._is_chunked else block
            self.sent += len(block)

    @property
    def size(self) -> int:
        return self.sent


class KnownBody(RequestBody):
    """A request body of known length: requests sets ``Content-Length``, and http.client sends the blocks one by one."""

    _is_chunked = False

    def __init__(self, blocks: Blocks, length: int) -> None:
        super().__init__(blocks)
        self._length = length

    @property
    def size(self) -> int:
        return self._length

    def __len__(self) -> int:
        return self._length


class _Rest:
    """The remaining content of a layer, read in parts."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._block = memoryview(b"")

    def has_more(self) -> bool:
        """Return whether bytes are left."""
        while not self._block:
            block = next(self._blocks, None)
            if block is None:
                return False
            self._block = block
        return True

    def take(self, limit: int | None) -> Blocks:
        """Yield the next ``limit`` bytes, or all."""
        size = 0
        while (limit is None or size < limit) and self.has_more():
            block = self._block[: None if limit is None else limit - size]
            self._block = self._block[len(block) :]
            size += len(block)
            yield block


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': digest})}"


def _exactly(blocks: Blocks, length: int, content: str) -> Blocks:
    """Yield exactly ``length`` bytes: the registry would wait for missing ones, and read others as a request."""
    missing = length
    while missing:
        block = next(blocks, None)
        if block is None:
            raise DigestMismatchError(f"{content} ended after {length - missing} of {length} bytes")
        yield block[:missing]
        missing -= len(block[:missing])
