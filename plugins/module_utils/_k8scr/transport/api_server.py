# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A requests adapter for one API server, with its TLS settings, its proxy and its credentials."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import ApiServerError, ConnectionLostError, OversizedResponseError, UnreadableResponseError
from ..http.body import in_memory, read_body, read_text
from ..http.headers import retry_after
from ..http.network_errors import NETWORK_ERRORS
from .connection import Endpoint, open_pool, request_target
from .failures import translate, unauthorized
from .front_proxy import FrontProxyCheck

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
    from urllib3._collections import HTTPHeaderDict
except ImportError:  # reported by cluster.connect(); the class below must still be importable
    if not TYPE_CHECKING:
        HTTPAdapter = object

if TYPE_CHECKING:
    from urllib3.connectionpool import HTTPConnectionPool

CONNECT_TIMEOUT = 15.0
"""Seconds to open a connection."""
OBJECT_TIMEOUT = 60.0
"""Seconds that the API server may take to return an object."""
_VERSION_TIMEOUT = 10.0
"""Seconds that the API server may take to return its version, for which other requests wait."""
IDLE_TIMEOUT = 120.0
"""Seconds without data in either direction after which a request fails. A transfer has no time limit."""
POOL_SIZE = 8
_MAXIMUM_OBJECT = 4 << 20
"""Bytes of the largest object; etcd stores at most 1.5 MiB by default."""

_WRITES = {"POST": "create", "PATCH": "change", "DELETE": "delete"}
"""The methods that write objects, in messages."""
_REPLACED_HEADERS = frozenset(("authorization", "proxy-authorization", "transfer-encoding"))
"""Headers of a request that are not forwarded; requests sets the last one even in addition to Content-Length."""


@dataclass(frozen=True)
class Access:
    """An API server and the credentials for it.

    Attributes:
        endpoint: The server.
        authorization: Returns the current ``Authorization`` header, or None with a client certificate or without a
            credential. Called before every request, so that it can renew a credential before it expires.
        impersonation: ``Impersonate-*`` headers; a name may occur several times.
        forget: Deletes the temporary files of the endpoint. They are read when the connection pool is created, and
            deleted then, so that a killed process leaves no files.
    """

    endpoint: Endpoint
    authorization: Callable[[], str | None] = field(repr=False)
    impersonation: Sequence[tuple[str, str]] = ()
    forget: Callable[[], None] = lambda: None

    def headers(self, authorization: str | None) -> list[tuple[str, str]]:
        """Return the headers with the credentials."""
        return [*([("Authorization", authorization)] if authorization else []), *self.impersonation]


class ApiServerAdapter(HTTPAdapter):
    """Sends requests to one API server, as the user of its kubeconfig.

    Mount it on a session for :attr:`base_url`. The adapter ignores the certificates, proxies and credentials of the
    session and its environment and uses those of the cluster's configuration. It retries only after a 401: it reads
    the credentials again, and repeats the request once if the body can be sent again.

    Args:
        load: Reads the configuration; called now, and again after a 401.
        pool_size: Number of connections to keep open.
        connect_timeout: Seconds to open a connection, for requests without a timeout.
        idle_timeout: Seconds without data, for requests without a timeout and for sending bodies.
        minimum_rate: Bytes a second of each connection in each direction, averaged over one minute, or over
            ``idle_timeout`` if that is longer; 0 for no minimum.

    Raises:
        ClusterError: The configuration cannot be used.
    """

    def __init__(
        self,
        load: Callable[[], Access],
        pool_size: int = POOL_SIZE,
        connect_timeout: float = CONNECT_TIMEOUT,
        idle_timeout: float = IDLE_TIMEOUT,
        minimum_rate: int = 0,
    ) -> None:
        super().__init__()
        self._load = load
        self._pool_size = pool_size
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._minimum_rate = minimum_rate
        self._lock = threading.Lock()
        with self._loaded() as access:
            self._access = access
            self._pool = self._open_pool(access)
        self._front_proxy = FrontProxyCheck(self.server_name, self._ask_version)

    @property
    def base_url(self) -> str:
        """``https://host:port[/base/path]``, without trailing slash."""
        return self._access.endpoint.base_url

    @property
    def server_name(self) -> str:
        """The name of the server in messages."""
        return self._access.endpoint.name

    @property
    def verifies(self) -> bool:
        """Whether the server's certificate is verified."""
        return self._access.endpoint.verify

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        *_args: Any,
        behind: str | None = None,
        **_kwargs: Any,
    ) -> requests.Response:
        """Send one request; the configuration of the cluster replaces the options for TLS and proxies.

        Args:
            behind: The Pod to which the API server passes on the request, in messages; None for its own API.

        Raises:
            UnreachableError: No connection could be opened.
            ConnectionLostError: The connection was interrupted or timed out before the response.
            FrontProxyError: Another server responded in place of the API server.
            ClusterError: The URL is not below :attr:`base_url`, TLS failed, or the response is not HTTP.
        """
        raw = self.open(request.method or "GET", request.url or "", request.headers, request.body, timeout, behind)
        # The response refers to the request of the caller, without the credentials of the cluster.
        response = self.build_response(request, raw)
        if not stream:
            self.read(response, behind)
        return response

    def read(self, response: requests.Response, behind: str | None = None) -> None:
        """Read the body of a response into memory, without a limit; ``behind`` as in :meth:`send`.

        Raises:
            ConnectionLostError: The body is incomplete.
        """
        try:
            response.content  # noqa: B018 - the property reads the body
        except NETWORK_ERRORS as error:
            raise translate(error, self.server_name, behind) from error

    def loaded(self, raw: urllib3.BaseHTTPResponse, limit: int) -> urllib3.HTTPResponse:
        """Return a response with its body in memory; that of an error response may be incomplete.

        Args:
            raw: The response, with its body unread.
            limit: The maximum size of a success response's body, in bytes.

        Raises:
            ConnectionLostError: The body is incomplete or too slow.
            UnreadableResponseError: It is compressed; as OversizedResponseError, it is too large.
        """
        try:
            is_success = raw.status < 300
            content = read_body(raw, limit, self.server_name) if is_success else read_text(raw)
        except NETWORK_ERRORS as error:
            raise translate(error, self.server_name) from error
        finally:
            raw.close()
        if is_success and len(content) > limit:
            raise OversizedResponseError(
                f"the response from {self.server_name} exceeds {limit} bytes", "Check the proxies on the path"
            )
        return in_memory(raw, content)

    def read_object(
        self, path: str, name: str, timeout: float = OBJECT_TIMEOUT, limit: int = _MAXIMUM_OBJECT, verb: str = "get"
    ) -> dict[str, Any] | None:
        """Return the Kubernetes object at a path below :attr:`base_url`; None if it does not exist.

        The object is empty if the response is not a JSON object.

        Args:
            path: The path, with its query.
            name: The object in messages, such as "the Secret k8scr-write in namespace k8scr".
            timeout: Seconds to connect, and to wait for the response.
            limit: The maximum size of the object, in bytes.
            verb: The permission that the request needs, in messages; ``list`` for a list of objects.

        Raises:
            ClusterError: The API server cannot be reached.
            OversizedResponseError: The object exceeds ``limit``.
            ApiServerError: The API server returned another error response.
        """
        raw = self.open("GET", f"{self.base_url}{path}", timeout=(min(timeout, CONNECT_TIMEOUT), timeout))
        response = self.loaded(raw, limit)
        found = _object_in(response)
        if response.status in (200, 404):
            return found if response.status == 200 else None
        error = _error_in(response, found, f"the API server does not return {name}")
        raise error.replace(advice=f"Allow {verb} on {name}") if error.status == 403 else error

    def write_object(self, method: str, path: str, name: str, value: Mapping[str, Any] | None = None) -> None:
        """Create, patch or delete a Kubernetes object.

        Args:
            method: ``POST`` to create ``value``, ``PATCH`` to change the object by the JSON merge patch ``value``, or
                ``DELETE``.
            path: The path below :attr:`base_url`, with its query.
            name: The object in messages, as for :meth:`read_object`.

        Raises:
            ClusterError: The API server cannot be reached.
            ApiServerError: The API server returned an error response.
        """
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        raw = self.open(
            method,
            f"{self.base_url}{path}",
            {"Content-Type": content_type, "Accept": "application/json"},
            None if value is None else json.dumps(value).encode(),
            (CONNECT_TIMEOUT, OBJECT_TIMEOUT),
        )
        response = self.loaded(raw, _MAXIMUM_OBJECT)
        if response.status >= 300:
            failure = f"the API server does not {_WRITES[method]} {name}"
            raise _error_in(response, _object_in(response), failure)

    def open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        timeout: Any = None,
        behind: str | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send one request as :meth:`send` does, and return urllib3's response with its body unread.

        Args:
            url: An absolute URL below :attr:`base_url`.
            headers: The request's headers; the credentials of the cluster replace those in it.
            body: Bytes, a file or an iterable of bytes.
            timeout: Seconds, ``(connect, idle)`` in seconds, or urllib3's Timeout; None for the adapter's.
            behind: The Pod to which the API server passes on the request, in messages; None for its own API.

        Raises:
            FrontProxyError: Another server responded in place of the API server.
        """
        access, used, raw = self._send_once(method, url, headers or {}, body, timeout, behind)
        if raw.status == 401 and self._renew(access, used):
            raw.close()
            if body is not None and not isinstance(body, (bytes, str)):
                # The body can be read only once; the caller resumes the upload.
                raise ConnectionLostError(
                    f"the credentials for {self.server_name} expired during a request", "Run again"
                )
            raw = self._send_once(method, url, headers or {}, body, timeout, behind)[2]
        return self._front_proxy.check(raw)

    def dial(self, timeout: float) -> tuple[Any, list[tuple[str, str]]]:
        """Open a connection for another protocol, and return its socket and the headers with the credentials.

        Raises:
            ClusterError: No connection can be opened.
        """
        with self._lock:
            access, pool = self._access, self._pool
        # urllib3 has no public function for a connection outside its pool.
        connection: Any = pool._new_conn()  # pylint: disable=protected-access
        connection.timeout = timeout
        try:
            if pool.proxy is not None:
                pool._prepare_proxy(connection)  # pylint: disable=protected-access
            if connection.sock is None:
                connection.connect()
        except NETWORK_ERRORS as error:
            connection.close()
            raise translate(error, access.endpoint.name) from error
        return connection.sock, access.headers(access.authorization())

    def close(self) -> None:
        """Close the connections that are not in use."""
        super().close()
        self._pool.close()

    def _send_once(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, timeout: Any, behind: str | None
    ) -> tuple[Access, str | None, urllib3.BaseHTTPResponse]:
        with self._lock:
            access, pool = self._access, self._pool
        target = request_target(access.endpoint.base_url, url)
        if pool.proxy and access.endpoint.base_url.startswith("http:"):
            # Without TLS there is no tunnel, so the request to the proxy has the absolute URL.
            target = f"http://{urlsplit(access.endpoint.base_url).netloc}{target}"
        authorization = access.authorization()
        sent = HTTPHeaderDict()
        for name, value in headers.items():
            if name.lower() not in _REPLACED_HEADERS and not name.lower().startswith("impersonate-"):
                sent.add(name, value)
        for name, value in access.headers(authorization):
            sent.add(name, value)
        options: dict[str, Any] = {
            "retries": False,
            "redirect": False,
            "assert_same_host": False,
            "timeout": self._timeout(timeout),
            "preload_content": False,
            "decode_content": False,
            "enforce_content_length": True,
            "chunked": body is not None and "Content-Length" not in sent,
        }
        try:
            raw = pool.request_encode_url(method, target, headers=sent, body=body, **options)
        except NETWORK_ERRORS as error:
            raise translate(error, access.endpoint.name, behind) from error
        if raw.status < 200:
            # http.client takes an interim response for the final one, and the final one for the next response.
            raw.close()
            raise UnreadableResponseError(
                f"{access.endpoint.name} returned an interim response ({raw.status}) instead of a final one",
                "Check the registry, and the proxies and load balancers on the path",
            )
        return access, authorization, raw

    def _ask_version(self) -> urllib3.BaseHTTPResponse:
        return self._send_once("GET", f"{self.base_url}/version", {}, None, _VERSION_TIMEOUT, None)[2]

    def _renew(self, access: Access, used: str | None) -> bool:
        """Read the credentials again after a 401; return whether they changed, so that a request can be repeated."""
        with self._lock:
            if self._access is not access:
                return True
            with self._loaded() as fresh:
                if fresh.endpoint != access.endpoint:
                    self._pool = self._open_pool(fresh)
                elif fresh.authorization() == used:
                    return False
                self._access = fresh
                return True

    def _open_pool(self, access: Access) -> HTTPConnectionPool:
        return open_pool(access.endpoint, self._pool_size, self._idle_timeout, self._minimum_rate)

    @contextlib.contextmanager
    def _loaded(self) -> Iterator[Access]:
        """Load the configuration; its temporary files are deleted at the end of the context."""
        access = self._load()
        try:
            yield access
        finally:
            access.forget()

    def _timeout(self, given: Any) -> urllib3.Timeout:
        if isinstance(given, urllib3.Timeout):
            return given
        connect, read = given if isinstance(given, tuple) else (given, given)
        return urllib3.Timeout(
            connect=self._connect_timeout if connect is None else connect,
            read=self._idle_timeout if read is None else read,
        )


def _object_in(response: urllib3.HTTPResponse) -> dict[str, Any]:
    """Return the JSON object in a response; empty if there is none."""
    try:
        value = json.loads(response.data)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def _error_in(response: urllib3.HTTPResponse, status: Mapping[str, Any], failure: str) -> ApiServerError:
    """Return the error of an error response with an object of the kind Status."""
    reason = str(status.get("message") or status.get("reason") or response.status)
    if response.status == 401:
        return unauthorized(reason)
    return ApiServerError(f"{failure}: {reason:.500}", None, response.status, after=retry_after(response.headers))
