# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry, over any requests session (OCI distribution specification 1.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from ..errors import ConnectionLostError, DigestMismatchError, InputError, RegistryError, SourceError
from ..oci.descriptor import Descriptor
from ..oci.digest import parse_digest, verify_content
from ..oci.manifest import MANIFEST_MEDIA_TYPES, MAXIMUM_SIZE, Manifest, is_manifest, parse_manifest
from .registry_answers import let_go, read_limited, refusal
from .store import BLOCK_SIZE, BlobContent, Blocks

if TYPE_CHECKING:
    import requests

try:
    from urllib3.exceptions import HTTPError
except ImportError:
    HTTPError = OSError  # type: ignore[assignment,misc]

_UPLOAD_PATH = re.compile(r"/v2/(?P<repository>.+)/blobs/uploads/(?!\.\.?/?$)[^/]+/?")
_ATTEMPTS = 3


class Registry:
    """A registry.

    Args:
        session: How its requests travel.
        url: What its requests begin with, without ``/v2/``.
        description: What it is, for people.
        timeouts: Seconds to wait for a connection, and for the next byte.
    """

    def __init__(
        self,
        session: requests.Session,
        url: str,
        description: str = "the registry",
        timeouts: tuple[float, float] = (10.0, 60.0),
    ) -> None:
        self.description = description
        self._session = session
        self._url = url
        self._timeouts = timeouts

    def repository(self, name: str) -> RegistryRepository:
        """Return one of its repositories; whether it is there, nobody asks."""
        return RegistryRepository(self, name)

    def commit(self) -> None:
        """Everything is in its place already."""

    def abandon(self) -> bool:
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

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request that may be sent again: one that changes nothing, or whose repetition does no harm.

        The connection may have been closed by the other side just as the request began; the API server then
        answers 500 with ``EOF``, or nothing answers at all.
        """
        for _attempt in range(_ATTEMPTS - 1):
            try:
                response = self.request(method, path, **options)
            except ConnectionLostError:
                continue
            if response.status_code != 500:
                return response
            let_go(response)
        return self.request(method, path, **options)


class RegistryRepository:
    """A repository of a registry: images are read from it and written to it."""

    checks_digests = True

    def __init__(self, registry: Registry, name: str) -> None:
        self.store = registry
        self.repository = name
        self.description = f"repository {name} in {registry.description}"

    def resolve(self, tag: str) -> Descriptor | None:
        """Return the manifest or index that has this tag or digest, or ``None``, in one request.

        Raises:
            RegistryError: The registry refuses to tell.
        """
        response = self._ask("HEAD", f"manifests/{tag}", headers={"Accept": ", ".join(MANIFEST_MEDIA_TYPES)})
        if response.status_code not in (200, 404):
            raise self._refusal(response, f"image {self.repository}:{tag} cannot be looked up")
        let_go(response)
        if response.status_code == 404:
            return None
        try:
            return Descriptor(
                response.headers.get("Content-Type", "").partition(";")[0].strip(),
                parse_digest(response.headers.get("Docker-Content-Digest")),
                int(response.headers.get("Content-Length", "")),
            )
        except (InputError, ValueError):
            # The specification does not require the digest of a HEAD answer: then the content tells it.
            return self._get_manifest(tag).descriptor

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        """See :meth:`ManifestSource.fetch_manifest`."""
        return self._get_manifest(descriptor.digest, descriptor.digest)

    def require_support(self, manifest: Manifest) -> None:
        """A registry says itself what it does not take."""

    def has_manifest(self, descriptor: Descriptor) -> bool:
        """See :meth:`ImageDestination.has_manifest`."""
        return self._has(f"manifests/{descriptor.digest}", {"Accept": descriptor.media_type})

    def has_blob(self, descriptor: Descriptor) -> bool:
        """See :meth:`ImageDestination.has_blob`."""
        return self._has(f"blobs/{descriptor.digest}", {})

    @contextmanager
    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[Blocks]:
        """See :meth:`ImageSource.open_blob`."""
        headers = {"Range": f"bytes={offset}-{descriptor.size - 1}"} if offset else {}
        response = self._ask("GET", f"blobs/{descriptor.digest}", headers=headers)
        try:
            if response.status_code == 404:
                raise SourceError(f"{self.description} lacks the blob {descriptor.digest}", "Push the image again")
            if response.status_code != (206 if offset else 200):
                raise self._refusal(response, f"blob {descriptor.digest} cannot be read")
            yield _body(response, f"blob {descriptor.digest} from {self.description}")
        finally:
            response.close()

    def close(self) -> None:
        """See :meth:`ImageSource.close`."""

    def put_blob(self, descriptor: Descriptor, content: BlobContent, mount_from: str | None = None) -> bool:
        """See :meth:`ImageDestination.put_blob` (specification, "Pushing blobs", "Mounting a blob").

        Raises:
            RegistryError: The registry refuses it.
        """
        query = "?" + urlencode({"mount": descriptor.digest, "from": mount_from}) if mount_from else ""
        what = f"blob {descriptor.digest} cannot be uploaded to {self.repository}"
        response = self._ask("POST", f"blobs/uploads/{query}", headers={"Content-Length": "0"})
        if response.status_code == 201 and mount_from:
            let_go(response)
            return True
        upload = self._upload_path(response, what)
        if descriptor.size > BLOCK_SIZE:
            with content() as blocks:
                response = self.store.request(
                    "PATCH",
                    upload,
                    data=_Body(blocks, descriptor.size),
                    headers={
                        "Content-Type": "application/octet-stream",
                        "Content-Range": f"0-{descriptor.size - 1}",
                        "Content-Length": str(descriptor.size),
                    },
                )
            upload = self._upload_path(response, what)
            last = b""
        else:
            with content() as blocks:
                last = b"".join(bytes(block) for block in blocks)
        self._finish_upload(upload, descriptor, last, what)
        return False

    def put_manifest(self, manifest: Manifest) -> None:
        """See :meth:`ImageDestination.put_manifest`."""
        self._put_manifest(manifest, manifest.descriptor.digest)

    def publish(self, root: Manifest, tag: str | None) -> None:
        """See :meth:`ImageDestination.publish`."""
        self._put_manifest(root, tag or root.descriptor.digest)

    def _put_manifest(self, manifest: Manifest, reference: str) -> None:
        response = self._ask(
            "PUT",
            f"manifests/{reference}",
            data=manifest.content,
            headers={"Content-Type": manifest.descriptor.media_type},
        )
        if response.status_code != 201:
            raise self._refusal(response, f"manifest {manifest.descriptor.digest} cannot be put at {reference}")
        let_go(response)
        stored = response.headers.get("Docker-Content-Digest", manifest.descriptor.digest)
        if stored != manifest.descriptor.digest:
            raise RegistryError(
                f"{self.description} stored manifest {manifest.descriptor.digest} as {stored:.100}",
                "Something between changes what is sent, or the registry is at fault",
            )

    def _get_manifest(self, reference: str, digest: str | None = None) -> Manifest:
        response = self._ask("GET", f"manifests/{reference}", headers={"Accept": ", ".join(MANIFEST_MEDIA_TYPES)})
        with response:
            if response.status_code == 404:
                raise SourceError(f"{self.description} lacks the manifest {reference}")
            if response.status_code != 200:
                raise self._refusal(response, f"manifest {reference} cannot be read")
            content = read_limited(response, MAXIMUM_SIZE)
        if digest and len(content) <= MAXIMUM_SIZE:
            verify_content(content, digest, f"manifest {digest} from {self.description}")
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        try:
            return parse_manifest(content, media_type if is_manifest(media_type) else None, digest)
        except InputError as error:
            raise SourceError(
                f"manifest {reference} from {self.description} cannot be used: {error.message}", error.advice
            ) from error

    def _finish_upload(self, upload: str, descriptor: Descriptor, last: bytes, what: str) -> None:
        query = "&" if "?" in upload else "?"
        response = self.store.request(
            "PUT",
            f"{upload}{query}{urlencode({'digest': descriptor.digest})}",
            data=last,
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(len(last))},
        )
        if response.status_code not in (201, 204):
            error = self._refusal(response, what)
            if "DIGEST_INVALID" in error.codes:
                raise DigestMismatchError(error.message)
            raise error
        let_go(response)

    def _upload_path(self, response: requests.Response, what: str) -> str:
        if response.status_code not in (201, 202, 204):
            raise self._refusal(response, what)
        let_go(response)
        try:
            location = urlsplit(response.headers.get("Location", ""))
        except ValueError:
            location = urlsplit("")
        match = _UPLOAD_PATH.fullmatch(location.path)
        if match is None or match["repository"] != self.repository:
            raise RegistryError(
                f"{what}: {self.store.description} sent us to a place that is not an upload of this repository",
                "The registry is at fault, or is not a registry",
            )
        return location.path + (f"?{location.query}" if location.query else "")

    def _has(self, path: str, headers: dict[str, str]) -> bool:
        response = self._ask("HEAD", path, headers=headers)
        if response.status_code not in (200, 404):
            raise self._refusal(response, f"{path} cannot be looked up in {self.repository}")
        let_go(response)
        return response.status_code == 200

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.store.ask(method, f"/v2/{self.repository}/{path}", **options)

    def _refusal(self, response: requests.Response, what: str) -> RegistryError:
        return refusal(response, what, self.store.description)


class _Body:
    """A request's body of known length: requests sends ``Content-Length``, http.client the blocks as they come."""

    def __init__(self, blocks: Blocks, length: int) -> None:
        self._blocks = blocks
        self._length = length

    def __iter__(self) -> Blocks:
        return self._blocks

    def __len__(self) -> int:
        return self._length


def _body(response: requests.Response, what: str) -> Blocks:
    try:
        for block in response.raw.stream(BLOCK_SIZE, decode_content=False):
            yield memoryview(block)
    except (HTTPError, OSError) as error:
        raise ConnectionLostError(f"the connection was lost while reading {what}", "Run again") from error
