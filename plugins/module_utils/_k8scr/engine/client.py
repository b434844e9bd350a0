# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Client of the Docker Engine API, which Podman implements too (docs.docker.com, "Docker Engine API").

Paths have no API version, so that each engine uses its default version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ..errors import EngineError, InputError, SourceError
from ..http.body import SECONDS, read_body, read_text
from ..http.network_errors import NETWORK_ERRORS, NetworkError
from ..http.session import open_session
from ..http.slow_peer import SlowPeerError
from ..oci.content import BLOCK_SIZE, Blocks
from ..oci.digest import parse_digest
from ..oci.platform import Platform
from .connection import EngineAdapter
from .context import EngineEndpoint

try:
    from urllib3.exceptions import HTTPError, ReadTimeoutError
except ImportError:  # reported by the module
    HTTPError = ReadTimeoutError = OSError  # type: ignore[assignment,misc]

if TYPE_CHECKING:
    from requests import Response

_URL = "http://engine"
_SAFE = "/:@"
"""Engines expect unescaped slashes in names."""
_MAXIMUM_RESPONSE = 4 << 20
"""Bytes of the largest response, except exports."""
_TIMEOUT = 60.0
_TRANSFER_TIMEOUT = 3600.0
"""Seconds without data. An engine packs or unpacks an image before it responds."""


@dataclass(frozen=True)
class EngineImage:
    """An image in an engine.

    Attributes:
        id: The image ID: the digest of the config, or of the manifest or index if the engine stores those.
        manifests: The digests of the complete manifests with that ID, if the engine stores manifests.
    """

    id: str
    manifests: tuple[str, ...] = ()


class Engine:
    """A client of a Docker or Podman engine. It connects with the first request.

    All methods raise EngineError if the engine is unavailable, rejects the request or returns an invalid response.

    Attributes:
        description: The name of the engine in messages.

    Raises:
        InputError: The endpoint is invalid.
        EngineError: The TLS certificates cannot be used.
    """

    def __init__(self, endpoint: EngineEndpoint) -> None:
        self.description = f"the Docker engine at {endpoint.host}"
        self._adapter = EngineAdapter(endpoint, _TRANSFER_TIMEOUT)
        self._session = open_session(_URL, self._adapter)
        self._session.headers["Accept-Encoding"] = "identity"

    def find(self, name: str) -> EngineImage | None:
        """Return the image with this name or ID, or ``None``."""
        # With manifests=1, engines that store manifests (Docker 28 and later) list them; others ignore it.
        with self._request("GET", f"/images/{quote(name, safe=_SAFE)}/json?manifests=1", _TIMEOUT) as response:
            if response.status_code == 404:
                return None
            found = self._read_object(response)
        image_id = str(found.get("Id"))
        try:
            # Some versions of Podman omit the algorithm.
            image_id = parse_digest(image_id if ":" in image_id else f"sha256:{image_id}")
            entries = [entry for entry in found.get("Manifests") or [] if entry.get("Available")]
            return EngineImage(image_id, tuple(parse_digest(e.get("ID")) for e in entries if e.get("Kind") == "image"))
        except (InputError, AttributeError, TypeError) as error:
            raise EngineError(f"unexpected response from {self.description} for image {name}") from error

    def platform(self) -> Platform:
        """Return the platform of the engine's host."""
        with self._request("GET", "/version", _TIMEOUT) as response:
            version = self._read_object(response)
        return Platform(str(version.get("Os")), str(version.get("Arch")))

    @contextmanager
    def export(self, image_id: str) -> Iterator[Blocks]:
        """Open the Docker archive of an image.

        Raises:
            SourceError: The engine no longer has the image.
        """
        with self._request("GET", f"/images/{quote(image_id, safe=_SAFE)}/get", _TRANSFER_TIMEOUT) as response:
            if response.status_code == 404:
                raise SourceError(f"{self.description} no longer has the image {image_id}", "Run again")
            self._require_success(response)
            yield self._body(response)

    def load(self, archive: Iterable[bytes]) -> None:
        """Load a Docker archive into the engine.

        Args:
            archive: The archive's content, in order. If it raises an error, the request ends incomplete and the
                engine stores nothing.
        """
        headers = {"Content-Type": "application/x-tar"}
        with self._request("POST", "/images/load?quiet=1", _TRANSFER_TIMEOUT, archive, headers) as response:
            self._require_success(response)
            # The engine unpacks the image before it sends the result.
            content = self._read(response, _TRANSFER_TIMEOUT)
        # The engine sends the status first. The last object of the body has the result.
        for line in content.splitlines():
            message = error_message(line)
            if message:
                raise EngineError(f"{self.description} cannot load the image: {message}")

    def tag(self, image_id: str, repository: str, tag: str) -> None:
        """Add a name to an existing image."""
        query = urlencode({"repo": repository, "tag": tag})
        path = f"/images/{quote(image_id, safe=_SAFE)}/tag?{query}"
        with self._request("POST", path, _TIMEOUT) as response:
            self._require_success(response)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @contextmanager
    def _request(
        self, method: str, path: str, timeout: float, body: Any = None, headers: Any = None
    ) -> Iterator[Response]:
        try:
            response = self._session.request(
                method, _URL + path, data=body, headers=headers, stream=True, timeout=timeout, allow_redirects=False
            )
        except (HTTPError, OSError) as error:
            raise self._failure(error) from error
        with response:
            yield response

    def _body(self, response: Response) -> Blocks:
        try:
            for block in response.raw.stream(BLOCK_SIZE, decode_content=False):
                yield memoryview(block)
        except (HTTPError, OSError) as error:
            raise self._failure(error) from error

    def _read(self, response: Response, seconds: float) -> bytes:
        try:
            content = read_body(response.raw, _MAXIMUM_RESPONSE, self.description, seconds)
        except NETWORK_ERRORS as error:
            raise self._failure(error) from error
        if len(content) > _MAXIMUM_RESPONSE:
            raise EngineError(f"the response from {self.description} exceeds {_MAXIMUM_RESPONSE} bytes")
        return content

    def _read_object(self, response: Response) -> dict[str, Any]:
        self._require_success(response)
        try:
            value = json.loads(self._read(response, SECONDS))
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise EngineError(f"the response from {self.description} is not a JSON object", "Check docker_host")
        return value

    def _require_success(self, response: Response) -> None:
        if response.status_code not in (200, 201, 204):
            reason = error_message(read_text(response.raw)) or response.reason
            raise EngineError(f"{self.description} rejected the request ({response.status_code}): {reason:.1000}")

    def _failure(self, error: Exception) -> EngineError:
        ssh_error = self._adapter.ssh_error()
        if ssh_error:
            return EngineError(f"{self.description} cannot be reached: {ssh_error}", "Run ssh to that host manually")
        failure = NetworkError(error)
        if slow := failure.find(SlowPeerError):
            return EngineError(f"{self.description} {slow}", "Check the engine and the connection to it")
        if failure.find(PermissionError):
            return EngineError(
                f"{self.description} cannot be used by this user: permission denied",
                "Run the task as root (become: true) or as a member of the group docker",
            )
        if failure.find(ReadTimeoutError, TimeoutError):
            return EngineError(f"{self.description} did not respond in time", "Check that the engine is running")
        # The innermost error of the operating system has the best message.
        system = [reason for reason in failure.chain if isinstance(reason, OSError) and reason.strerror]
        why = system[-1].strerror if system else str(failure.chain[-1]) or type(failure.chain[-1]).__name__
        if failure.find(FileNotFoundError, ConnectionRefusedError):
            return EngineError(
                f"{self.description} is not available: {why}",
                "Start the engine, or set docker_host, for example unix:///run/podman/podman.sock for Podman",
            )
        return EngineError(f"the connection to {self.description} failed: {why}", "Check the engine's log")


def error_message(content: bytes) -> str | None:
    """Return the error message in a JSON object of an engine's response, or ``None``."""
    try:
        value = json.loads(content)
        detail = value.get("errorDetail") or {}
        message = value.get("message") or value.get("error") or detail.get("message")
    except (ValueError, RecursionError, AttributeError):
        return None
    return str(message) if message else None
