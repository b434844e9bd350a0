# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked of an engine: Docker's Engine API, which Podman speaks too (docs.docker.com, "Docker Engine API").

Paths have no version in them, so that engines of every age answer in the version that they speak best.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ..errors import EngineError, InputError, SourceError
from ..http.network_errors import NetworkError
from ..http.session import open_session
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
"""Engines want the slashes of a name as they are."""
_MAXIMUM_ANSWER = 4 << 20
"""Bytes of the largest answer that is no export."""
_ANSWERS_WITHIN = 60.0
_WORKS_WITHIN = 3600.0
"""Seconds that an engine may be silent while it packs or unpacks an image, which it does before it answers."""


@dataclass(frozen=True)
class EngineImage:
    """An image that an engine has.

    Attributes:
        id: Its image ID: the digest of its config, or of its manifest or index where the engine keeps those.
        manifests: The digests of the manifests under that ID that the engine has whole, where it keeps manifests.
    """

    id: str
    manifests: tuple[str, ...] = ()


class Engine:
    """An engine of Docker or Podman.

    Args:
        endpoint: Where it listens; nothing is sent yet.

    Attributes:
        description: What it is, for people.

    Raises:
        InputError: Nothing can listen there.
        EngineError: The certificates for it cannot be used.
    """

    def __init__(self, endpoint: EngineEndpoint) -> None:
        self.description = f"the Docker engine at {endpoint.host}"
        self._adapter = EngineAdapter(endpoint, _WORKS_WITHIN)
        self._session = open_session(_URL, self._adapter)
        self._session.headers["Accept-Encoding"] = "identity"

    def find(self, name: str) -> EngineImage | None:
        """Return the image that has this name or ID, or ``None``.

        Raises:
            EngineError: The engine cannot be asked, or does not answer as one.
        """
        # Engines that keep manifests (Docker 28 and later) say with this which of them they have; others look past it.
        with self._request("GET", f"/images/{quote(name, safe=_SAFE)}/json?manifests=1", _ANSWERS_WITHIN) as response:
            if response.status_code == 404:
                return None
            answer = self._read_object(response)
        image_id = str(answer.get("Id"))
        try:
            # Podman has left the algorithm out.
            image_id = parse_digest(image_id if ":" in image_id else f"sha256:{image_id}")
            entries = [entry for entry in answer.get("Manifests") or [] if entry.get("Available")]
            return EngineImage(image_id, tuple(parse_digest(e.get("ID")) for e in entries if e.get("Kind") == "image"))
        except (InputError, AttributeError, TypeError) as error:
            raise EngineError(f"{self.description} says of {name} what no engine says") from error

    def platform(self) -> Platform:
        """Return the platform that the engine runs images for.

        Raises:
            EngineError: The engine cannot be asked, or does not answer as one.
        """
        with self._request("GET", "/version", _ANSWERS_WITHIN) as response:
            answer = self._read_object(response)
        return Platform(str(answer.get("Os")), str(answer.get("Arch")))

    @contextmanager
    def export(self, image_id: str) -> Iterator[Blocks]:
        """Open the Docker archive of an image.

        Raises:
            SourceError: The engine does not have it any more.
            EngineError: The engine refuses, or does not go on to the end.
        """
        with self._request("GET", f"/images/{quote(image_id, safe=_SAFE)}/get", _WORKS_WITHIN) as response:
            if response.status_code == 404:
                raise SourceError(f"{self.description} no longer has the image {image_id}", "Run again")
            self._require_success(response)
            yield self._body(response)

    def load(self, archive: Iterable[bytes]) -> None:
        """Have the engine read a Docker archive.

        Args:
            archive: The archive's content, in order; an error that it raises ends the request unfinished, and then
                the engine keeps nothing.

        Raises:
            EngineError: The engine refuses it.
        """
        headers = {"Content-Type": "application/x-tar"}
        with self._request("POST", "/images/load?quiet=1", _WORKS_WITHIN, archive, headers) as response:
            self._require_success(response)
            content = self._read(response)
        # The status is sent before the work is done: whether it was is in the last object of the body.
        for line in content.splitlines():
            fault = failure_in(line)
            if fault:
                raise EngineError(f"{self.description} cannot load the image: {fault}")

    def tag(self, image_id: str, repository: str, tag: str) -> None:
        """Give an image that is there a name more.

        Raises:
            EngineError: The engine refuses.
        """
        query = urlencode({"repo": repository, "tag": tag})
        path = f"/images/{quote(image_id, safe=_SAFE)}/tag?{query}"
        with self._request("POST", path, _ANSWERS_WITHIN) as response:
            self._require_success(response)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @contextmanager
    def _request(
        self, method: str, path: str, silence: float, body: Any = None, headers: Any = None
    ) -> Iterator[Response]:
        try:
            response = self._session.request(
                method, _URL + path, data=body, headers=headers, stream=True, timeout=silence, allow_redirects=False
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

    def _read(self, response: Response) -> bytes:
        content = bytearray()
        for block in self._body(response):
            content += block
            if len(content) > _MAXIMUM_ANSWER:
                raise EngineError(f"{self.description} does not come to an end of its answer")
        return bytes(content)

    def _read_object(self, response: Response) -> dict[str, Any]:
        self._require_success(response)
        try:
            answer = json.loads(self._read(response))
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise EngineError(f"what answers is not {self.description}: it speaks no JSON", "Check docker_host")
        return answer

    def _require_success(self, response: Response) -> None:
        if response.status_code not in (200, 201, 204):
            said = failure_in(self._read(response)) or response.reason
            raise EngineError(f"{self.description} refuses ({response.status_code}): {said:.1000}")

    def _failure(self, error: Exception) -> EngineError:
        complaint = self._adapter.complaint()
        if complaint:
            return EngineError(f"{self.description} cannot be reached: {complaint}", "Try ssh to that host by hand")
        failure = NetworkError(error)
        if failure.find(PermissionError):
            return EngineError(
                f"{self.description} may not be used by this user: permission denied",
                "Run the task as root (become: true) or as a member of the group docker",
            )
        if failure.find(ReadTimeoutError, TimeoutError):
            return EngineError(f"{self.description} is silent for too long", "See whether it still works")
        # The words of the operating system, where it has any, are the innermost.
        system = [reason for reason in failure.chain if isinstance(reason, OSError) and reason.strerror]
        why = system[-1].strerror if system else str(failure.chain[-1]) or type(failure.chain[-1]).__name__
        if failure.find(FileNotFoundError, ConnectionRefusedError):
            return EngineError(
                f"{self.description} is not there: {why}",
                "Start it, or say with docker_host where one is, as unix:///run/podman/podman.sock for Podman's",
            )
        return EngineError(f"the connection to {self.description} failed: {why}", "See what the engine logged")


def failure_in(answer: bytes) -> str | None:
    """Return the engine's words for what went wrong, if this JSON object of an answer says that something did."""
    try:
        value = json.loads(answer)
        detail = value.get("errorDetail") or {}
        said = value.get("message") or value.get("error") or detail.get("message")
    except (ValueError, RecursionError, AttributeError):
        return None
    return str(said) if said else None
