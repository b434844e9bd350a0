# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A requests adapter that sends requests to a Pod through the Pod proxy of the API server.

Mount it on a session to connect any client that is based on requests to a Pod::

    session = requests.Session()
    session.mount("http://registry.k8scr/", PodProxyAdapter(cluster.adapter, "k8scr", "k8scr-0", 5001))
    session.get("http://registry.k8scr/v2/")

Kubernetes API: ``connectGetNamespacedPodProxyWithPath`` and the same for the other methods.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urljoin, urlsplit

from ..errors import (
    ApiServerError,
    ConnectionLostError,
    FrontProxyError,
    K8scrError,
    PodUnreachableError,
    RegistryError,
    Retry,
    UnreadableResponseError,
)
from ..http.body import in_memory, read_text
from ..http.headers import REGISTRY_HEADER, retry_after
from .failures import peers_of, unauthorized
from .pod_addresses import PodAddresses, is_safe_path

if TYPE_CHECKING:
    from .api_server import ApiServerAdapter

try:
    import requests
    from requests.adapters import BaseAdapter
except ImportError:
    # The module reports the missing library; the import of this file must work without it.
    BaseAdapter = object  # type: ignore[assignment,misc]

_NO_SUCH_PATH = b"404 page not found\n"
"""The body of the response for an unknown path, from servers in Go, for example registries."""
_UNREACHABLE = re.compile(
    "timeout|timed out|deadline exceeded|no route|network is unreachable|no agent available", re.IGNORECASE
)
_INTERRUPTED = re.compile(
    r"(?!.*\bdial\b).*(\bEOF\b|reset by peer|broken pipe|\b(read|write|readfrom) tcp\b|closed network connection|"
    "server closed|connection broken|connection lost|force closed|GOAWAY|stream error)"
)
"""Messages of Go about an interrupted connection. Messages about a failure to connect contain ``dial``."""
_WITHOUT_POD_NETWORK = (
    ". Some managed control planes cannot reach the Pod network; for them, run the registry with hostNetwork: true"
)
_ATTEMPTS_OF_ALLOWED_REQUESTS = 6
"""Attempts after a 403 for a method that was allowed earlier in the task: about six seconds in total."""
_ADVICE = {429: "The API server is overloaded; run again later"}
_STATE_TIMEOUT = 10.0
"""Seconds to wait for the state of a Pod, which only explains another error."""
_DROPPED_HEADERS = ("Authorization", "Cookie", "Host")


class BasePath(Protocol):
    """The path that a Pod serves below. Both methods raise K8scrError if they cannot find it."""

    def current(self) -> str:
        """Return the path, with a leading and without a trailing slash; empty for the root."""

    def missed(self, used: str) -> bool:
        """Return whether a request is worth repeating below the current path.

        The adapter calls it when the Pod serves nothing below ``used``, the path of that request.
        """


class PodProxyAdapter(BaseAdapter):
    """Sends each request to one port of one Pod. Requests and redirects to addresses outside of the Pod are rejected.

    Args:
        api_server: The adapter of the API server, with its credentials: ``connect(options).adapter``.
        namespace: The Pod's namespace.
        pod: The Pod's name.
        port: The port of the Pod.
        scheme: ``http`` or ``https``, which the Pod serves on the port.
        base_path: The base path of the Pod's API; None for the root. It is a credential: errors, and the headers and
            error bodies of responses, do not contain it.
    """

    def __init__(
        self,
        api_server: ApiServerAdapter,
        namespace: str,
        pod: str,
        port: int,
        scheme: str = "http",
        base_path: BasePath | None = None,
    ) -> None:
        super().__init__()
        # RBAC compares this string with resourceNames, so the default scheme must always be omitted.
        self.target = f"{pod}:{port}" if scheme == "http" else f"{scheme}:{pod}:{port}"
        self.namespace = namespace
        self.pod = pod
        self._description = f"the registry in Pod {namespace}/{pod}"
        self._api_server = api_server
        self._pod_path = f"/api/v1/namespaces/{namespace}/pods"
        self._prefix = f"{self._pod_path}/{self.target}/proxy"
        self._addresses = PodAddresses(api_server.base_url, self._prefix, pod)
        self._base_path = base_path
        self._served: set[str] = set()
        self._allowed: set[str] = set()

    @property
    def peers(self) -> str:
        """The names of the servers that can interrupt a response, in messages."""
        return peers_of(self._api_server.server_name, self._description)

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None, *_args: Any, **_kwargs: Any
    ) -> requests.Response:
        """Send a request to the Pod.

        Returns:
            The response of the Pod, as without the Pod proxy.

        Raises:
            ClusterError: The API server cannot be reached.
            ConnectionLostError: The connection to the API server, or from there to the Pod, was interrupted.
            ApiServerError: The API server rejects the request, or cannot reach the Pod.
            FrontProxyError: Another server responded in place of the API server.
            RegistryError: The path is not safe, or a Location or Link in the response is outside of the Pod.
        """
        base_path = self._base_path
        used = base_path.current() if base_path else ""
        response, has_route = self._exchange(request, used, stream, timeout)
        if has_route or not base_path or self._serves(used, request, timeout) or not base_path.missed(used):
            return response
        if not isinstance(request.body, (bytes, str, type(None))):
            raise ConnectionLostError(f"the base path of Pod {self.pod} changed during a request")
        return self._exchange(request, base_path.current(), stream, timeout)[0]

    def _exchange(
        self, request: requests.PreparedRequest, base: str, stream: bool, timeout: Any
    ) -> tuple[requests.Response, bool]:
        """Send a request to a path below ``base``; return the response, and whether the Pod serves the path."""
        response = self._forward(request, base, timeout)
        has_route = True
        try:
            if response.status_code >= 400:
                response, has_route = self._error_response(response, request, base, timeout)
            elif response.status_code >= 300:
                # Clients read the whole body of a redirect, even if they want a stream.
                response = self._with_body(response, self._read_short_body(response, base))
            self._allowed.update(("GET", "HEAD") if request.method in ("GET", "HEAD") else [request.method or ""])
            # The API server does not forward Authorization, so the client cannot authenticate to the Pod.
            response.headers.pop("WWW-Authenticate", None)
            self._addresses.translate(response, base)
            if base:
                response.reason = _without(base, response.reason or "")
                response.headers.update({name: _without(base, value) for name, value in response.headers.items()})
            if request.method == "HEAD" or response.headers.get("Content-Length") == "0":
                # Without reading an empty body, closing the response would close its connection.
                read_text(response.raw)
            elif not stream:
                self._api_server.read(response, self._description)
        except BaseException:
            response.close()
            raise
        return response, has_route

    def _serves(self, base: str, request: requests.PreparedRequest, timeout: Any) -> bool:
        """Return whether the registry serves ``base``; it may not serve some paths below it, for example referrers."""
        if base not in self._served:
            probe = request.copy()
            probe.prepare(method="GET", url=str(urljoin(request.url or "", "/v2/")))
            response, has_route = self._exchange(probe, base, stream=True, timeout=timeout)
            with response:
                read_text(response.raw)
            if has_route:
                self._served.add(base)
        return base in self._served

    def close(self) -> None:
        """Close the connections."""
        self._api_server.close()

    def _forward(self, request: requests.PreparedRequest, base: str, timeout: Any) -> requests.Response:
        outer = request.copy()
        address = urlsplit(request.url or "")
        if not is_safe_path(address.path):
            raise RegistryError(
                f"the path {address.path!r:.200} cannot be requested through the API server, which would change it"
            )
        query = f"?{address.query}" if address.query else ""
        outer.url = f"{self._api_server.base_url}{self._prefix}{base}{address.path}{query}"
        for header in _DROPPED_HEADERS:
            outer.headers.pop(header, None)
        outer.headers["Accept-Encoding"] = "identity"
        try:
            response = self._api_server.send(outer, stream=True, timeout=timeout, behind=self._description)
        except UnreadableResponseError as error:
            raise UnreadableResponseError(
                f"the request to Pod {self.pod} failed: {error.message}", error.advice
            ) from error
        except FrontProxyError as error:
            # Error pages often contain the requested path.
            message = _without(base, error.message)
            raise FrontProxyError(message, error.advice, error.status, error.retry, error.after) from None
        response.request = request
        response.url = request.url or ""
        return response

    def _error_response(
        self, response: requests.Response, request: requests.PreparedRequest, base: str, timeout: Any
    ) -> tuple[requests.Response, bool]:
        """Raise an error of the API server; return a response of the Pod, and whether the Pod serves the path."""
        has_route = True
        if request.method != "HEAD":
            return self._read_error_response(response, base)
        is_text = response.headers.get("Content-Type", "").startswith("text/plain")
        if REGISTRY_HEADER not in response.headers or is_text:
            # A response to HEAD shows neither whether the Pod or the API server sent it, nor whether the image or the
            # path does not exist. For an unknown path, distribution returns plain text.
            read_text(response.raw)
            repeated = request.copy()
            repeated.method = "GET"
            with self._forward(repeated, base, timeout) as second:
                if second.status_code >= 400:
                    has_route = self._read_error_response(second, base)[1]
            # The Pod may have started or stopped in between: only the sender of the second response is known.
            response.status_code, response.reason, response.headers = second.status_code, second.reason, second.headers
        return response, has_route

    def _read_error_response(self, response: requests.Response, base: str) -> tuple[requests.Response, bool]:
        content = self._read_short_body(response, base)
        status = _status_of(content)
        if status is not None:
            after = retry_after(response.headers)
            raise self._explain(response.request.method or "", response.status_code, status, after)
        return self._with_body(response, content), response.status_code != 404 or content != _NO_SUCH_PATH

    def _read_short_body(self, response: requests.Response, base: str) -> bytes:
        """Return the beginning of a body, without the base path."""
        with response:
            content = read_text(response.raw).decode("latin-1")
        return _without(base, content).encode("latin-1")

    def _with_body(self, response: requests.Response, content: bytes) -> requests.Response:
        """Return the response with another body, which is unread."""
        rebuilt = self._api_server.build_response(response.request, in_memory(response.raw, content))
        rebuilt.url = response.url
        return rebuilt

    def _explain(
        self, method: str, code: int, status: dict[str, Any], after: float
    ) -> ApiServerError | ConnectionLostError:
        message = str(status.get("message") or status.get("reason") or code)
        where = f"Pod {self.pod} in namespace {self.namespace}"
        if code == 401:
            return unauthorized(message)
        if code == 403:
            # After its start, the API server forbids all requests until it has loaded the roles.
            retry = Retry(_ATTEMPTS_OF_ALLOWED_REQUESTS, after) if method in self._allowed else None
            return ApiServerError(
                f"the API server forbids access to {where}: {message:.500}",
                f"Grant that verb on pods/proxy with resourceNames [{self.target}] in a Role in {self.namespace}",
                code,
                retry,
            )
        if code == 404:
            # While a Pod moves to another node, it does not exist for a moment.
            return PodUnreachableError(
                f"there is no {where}: {message:.300}",
                "Deploy the registry with the role k8scr.core.registry, or set registry and namespace to its Pod",
                code,
                Retry(after=after),
            )
        # "address not allowed" is the error for a Pod that has no address yet.
        if "trying to reach service" in message or "address not allowed" in message:
            advice = self._pod_state() or "Check that the Pod runs and listens on the port"
            port = self.target.rsplit(":", 1)[-1]
            if _INTERRUPTED.match(message):
                lost = f"the API server lost the connection to {where} at port {port}: {message:.300}"
                return ConnectionLostError(lost, advice, Retry(after=after))
            if _UNREACHABLE.search(message):
                advice += _WITHOUT_POD_NETWORK
            unreachable = f"the API server cannot reach {where} at port {port}: {message:.300}"
            return PodUnreachableError(unreachable, advice, code, Retry(after=after))
        return ApiServerError(
            f"the API server rejects the request to {where}: {message:.500}", _ADVICE.get(code), code, after=after
        )

    def _pod_state(self) -> str | None:
        """Return the state of the Pod; None without the permission to get Pods."""
        try:
            pod = self._api_server.read_object(f"{self._pod_path}/{self.pod}", f"Pod {self.pod}", _STATE_TIMEOUT)
        except K8scrError:
            return None
        status = (pod or {}).get("status")
        if not isinstance(status, dict):
            return None
        ready = {c.get("type"): c.get("status") for c in status.get("conditions", [])}.get("Ready") == "True"
        waiting = [
            f"container {container.get('name')} is waiting: {state.get('reason')} {state.get('message', '')}".rstrip()
            for container in status.get("containerStatuses", [])
            for state in [container.get("state", {}).get("waiting")]
            if state
        ]
        reasons = [f"it is {status.get('phase')}{'' if ready else ' and not ready'}", *waiting]
        return f"Check the Pod: {'; '.join(reasons):.500}"


def _without(base: str, text: str) -> str:
    """Return a text without the base path; its slashes may be encoded in the text."""
    return text.replace(base.strip("/"), "") if base else text


def _status_of(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and value.get("kind") == "Status" and value.get("apiVersion") == "v1":
        return value
    return None
