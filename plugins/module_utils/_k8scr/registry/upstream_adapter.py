# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The transport to an upstream registry: its TLS, its authentication, and the storage that it redirects to.

Unlike the transport through the API server, it follows redirects of requests that only read, and it authenticates. The
registry's credentials are sent only to the registry and its token server.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import ConnectionLostError, InputError, K8scrError, RegistryError, SourceError, UnreachableError
from ..http.body import in_memory, read_text
from ..http.network_errors import NetworkError
from ..http.no_proxy import bypasses_proxy
from ..http.slow_peer import MINIMUM_RATE
from ..http.streaming_connection import limit_pools
from .auth import RegistryAuth
from .auth_files import Credentials
from .error_responses import read_errors
from .response import RegistryResponse, receive
from .tls_files import TlsFiles

try:
    import requests
    from requests import exceptions as requests_errors
    from requests.adapters import HTTPAdapter
    from requests.utils import requote_uri
    from urllib3 import exceptions as urllib3_errors
except ImportError:  # the module reports missing libraries; the class below must still be importable
    if not TYPE_CHECKING:
        HTTPAdapter = object

_CONTENT = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs|referrers|tags)/[^/]+")
_MAY_REFUSE_HEAD = (400, 403, 404, 405, 501)
"""Status codes for HEAD from registries, and from storage they redirect to, that return the same content for GET."""
_CODE = re.compile("[A-Z_]{1,40}")
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_CLIENT_CERTIFICATE_ALERTS = ("certificate required", "alert bad certificate", "alert unknown ca")
"""OpenSSL's texts for a server that requires a client certificate or does not accept it."""


class _TlsAdapter(HTTPAdapter):
    """Sends requests with a TLS context, also through proxies. ``limits`` are the timeout and the minimum rate."""

    def __init__(self, context: ssl.SSLContext, pool_size: int, limits: tuple[float, int]) -> None:
        self._context = context
        self._limits = limits
        super().__init__(pool_maxsize=pool_size)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)
        limit_pools(self.poolmanager, *self._limits)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options, ssl_context=self._context)
        if is_new:
            limit_pools(manager, *self._limits)
        return manager

    def cert_verify(self, *_connection: Any) -> None:
        """Do nothing, because requests would add its own authorities to the TLS context."""


class UpstreamAdapter(_TlsAdapter):
    """Sends authenticated requests to one upstream registry.

    Mount it on a session for the registry's URL. If the registry rejects HEAD, GET replaces it. Redirects of GET and
    HEAD are followed, to other hosts without ``Authorization``. The environment sets the proxies (``HTTPS_PROXY``,
    ``NO_PROXY``), as for other tools that pull images.

    Args:
        url: The registry's scheme, host and port.
        registry: The registry's name in messages.
        find: Returns the credentials for a repository; called when the registry requires credentials.
        tls: Certificate authorities to trust in addition to the system's, and client certificates, which are used only
            for the registry and its token server.
        validate_certs: Whether to verify the certificates of the registry and of other hosts.
        pool_size: The number of connections that stay open.
        timeouts: Seconds to wait for a connection, and for the next byte; also for the token server.
        minimum_rate: Bytes a second of each connection, averaged over one minute; 0 for no minimum.

    Raises:
        InputError: A TLS file is missing or not valid.
    """

    def __init__(
        self,
        url: str,
        registry: str,
        find: Callable[[str], Credentials | None],
        tls: TlsFiles | None = None,
        validate_certs: bool = True,
        pool_size: int = 4,
        timeouts: tuple[float, float] = (10.0, 60.0),
        minimum_rate: int = MINIMUM_RATE,
    ) -> None:
        self._origin = _origin(url)
        self._registry = registry
        self._plain_http = url.startswith("http:")
        self._validate_certs = validate_certs
        self._timeouts = timeouts
        self._auth = RegistryAuth(registry, find, self._ask_token_server, self._plain_http)
        files = tls or TlsFiles()
        self._with_head: set[tuple[str, str]] = set()
        self._without_head: set[str] = set()
        limits = (timeouts[1], minimum_rate)
        self._storage = _TlsAdapter(files.context(validate_certs), pool_size, limits)
        context = files.context(validate_certs)
        files.load_certificates(context)
        super().__init__(context, pool_size, limits)

    def close(self) -> None:
        """Close all connections."""
        super().close()
        self._storage.close()

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None, *_args: Any, **_kwargs: Any
    ) -> requests.Response:
        """Send one request; the adapter's own settings replace the options for TLS and proxies.

        Raises:
            UnreachableError: No connection could be opened.
            ConnectionLostError: The connection was interrupted or timed out.
            RegistryError: The registry or its token server denies access, or a redirect is not allowed.
            SourceError: The TLS handshake failed.
            InputError: The proxy's URL or the credentials are not valid.
        """
        match = _CONTENT.match(urlsplit(request.url or "").path)
        repository = match["repository"] if match else ""
        if match and request.method == "HEAD":
            response = self._look_up(request, repository, match["kind"], timeout)
        else:
            response = self._authenticate(request, repository, timeout)
        if response.status_code in (401, 403):
            raise self._denied(response, repository, _close(response))
        # Return the caller's request, without the credentials.
        response.request = request
        return response

    def _look_up(
        self, request: requests.PreparedRequest, repository: str, kind: str, timeout: Any
    ) -> requests.Response:
        """Send a HEAD request, or GET if the registry may reject HEAD; the caller closes the response.

        An error is confirmed by GET until HEAD works for this kind of content in this repository. If only GET works,
        all further requests of the task are GET.
        """
        if kind not in self._without_head:
            response = self._authenticate(request, repository, timeout)
            if response.status_code == 200:
                self._with_head.add((repository, kind))
            if response.status_code not in _MAY_REFUSE_HEAD or (repository, kind) in self._with_head:
                return response
            # Reading the empty body keeps the connection for GET.
            read_text(response.raw)
        get = request.copy()
        get.method = "GET"
        response = self._authenticate(get, repository, timeout)
        if response.status_code == 200:
            self._without_head.add(kind)
            # A blob has gigabytes. Only the headers are the response to HEAD.
            read_text(response.raw)
            response.raw = in_memory(response.raw, b"")
        return response

    def _authenticate(self, request: requests.PreparedRequest, repository: str, timeout: Any) -> requests.Response:
        """Send a request with credentials, which are renewed after a response with status 401."""
        used = self._auth.header(repository)
        response = self._follow(request, used, timeout)
        # Authenticate only to the registry, not to a host that it redirects to.
        if response.status_code == 401 and _origin(response.url) == self._origin:
            codes = _close(response)
            if not self._auth.renew(repository, response.headers, used):
                raise self._denied(response, repository, codes)
            response = self._follow(request, self._auth.header(repository), timeout)
        return response

    def _ask_token_server(self, method: str, url: str, headers: dict[str, str], body: str | None) -> RegistryResponse:
        try:
            request = requests.Request(method, url, headers=headers, data=body).prepare()
        except OSError:  # the exceptions of requests are OSErrors
            raise RegistryError(f"the token server of {self._registry} is not a URL", "Check the registry") from None
        response = self._send_once(request, self._timeouts, super().send)
        return receive(response, f"the token server {urlsplit(url).hostname} of {self._registry}")

    def _follow(self, request: requests.PreparedRequest, authorization: str | None, timeout: Any) -> requests.Response:
        hop = request.copy()
        for _redirect in range(_MOST_REDIRECTS + 1):
            hop.headers.pop("Authorization", None)
            is_registry = _origin(hop.url) == self._origin
            if authorization and is_registry:
                hop.headers["Authorization"] = authorization
            response = self._send_once(hop, timeout, super().send if is_registry else self._storage.send)
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not location or hop.method not in ("GET", "HEAD"):
                return response
            with response:
                read_text(response.raw)
            hop.url = self._target(hop.url, location)
        raise RegistryError(f"{self._registry} returned too many redirects", "Check the registry")

    def _target(self, url: str | None, location: str) -> str:
        """Return the target of a redirect. Messages show only its host, because the rest may contain secrets."""
        try:
            target = requote_uri(urljoin(url or "", location))
            parts = urlsplit(target)
            host = parts.hostname if parts.port != 0 else None
        except ValueError:
            host = None
        if not host or "@" in parts.netloc or parts.scheme not in ("https", "http"):
            raise RegistryError(f"{self._registry} redirects to an address that is not a URL", "Check the registry")
        if parts.scheme == "http" and not self._plain_http:
            raise RegistryError(
                f"{self._registry} redirects to {host} without TLS",
                "Configure it with https, or set plain_http for the registry in upstreams",
            )
        return target

    def _send_once(
        self, request: requests.PreparedRequest, timeout: Any, send: Callable[..., requests.Response]
    ) -> requests.Response:
        host = urlsplit(request.url or "").netloc
        server = self._registry if _origin(request.url) == self._origin else f"{host} (for {self._registry})"
        try:
            response = send(
                request,
                stream=True,
                timeout=timeout,
                verify=self._validate_certs,
                proxies=_proxies(request.url or ""),
            )
        except (OSError, urllib3_errors.HTTPError) as error:
            # Omit the cause, which shows URLs; those of storage contain signatures.
            raise _explain(error, server) from None
        # urllib3 before version 2 otherwise accepts a truncated body.
        response.raw.enforce_content_length = True
        return response

    def _denied(self, response: requests.Response, repository: str, codes: tuple[str, ...]) -> RegistryError:
        status = response.status_code
        if self._origin != _origin(response.url):
            host = urlsplit(response.url).hostname
            return RegistryError(
                f"{host}, to which {self._registry} redirects, responded with {status}",
                "Run again; the redirect may have expired",
                status,
            )
        origin = self._auth.origin(repository)
        hidden = f"registries also return {status} for images that do not exist"
        if origin:
            advice = f"Check the credentials from {origin}, their permissions, and the image's name and tag: {hidden}"
        else:
            advice = (
                f"Check the image's name and tag: {hidden}. If they are correct, set credentials in upstreams, or log"
                " in with docker login or podman login"
            )
        reason = f" ({', '.join(codes)})" if codes else ""
        return RegistryError(
            f"{self._registry} denies access to {repository}: status {status}{reason}", advice, status, codes
        )


def _close(response: requests.Response) -> tuple[str, ...]:
    """Close an error response and return its codes, without its texts, which may contain the credentials."""
    with response:
        codes, _texts = read_errors(read_text(response.raw))
    return tuple(code for code in codes if _CODE.fullmatch(code))


def _proxies(url: str) -> dict[str, str]:
    """Return the proxies for a URL from the environment or the system; empty if its host is reached without one."""
    proxies = getproxies()
    # The second check adds the exceptions that macOS and Windows keep in their settings.
    if bypasses_proxy(url, proxies.pop("no", None)) or proxy_bypass(urlsplit(url).hostname or ""):
        return {}
    return proxies


def _origin(url: str | None) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url or "")
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _explain(error: BaseException, server: str) -> K8scrError:
    """Return the error for an exception of requests or urllib3, without URLs; ``server`` is the name in messages."""
    failure = NetworkError(error)
    reason = failure.reason or ("no response in time" if failure.is_timeout else "closed")
    if slow := failure.slow_peer(server):
        return slow
    # First, because requests reports TLS errors behind a proxy as errors of the proxy.
    if tls_error := _tls(failure, server):
        return tls_error
    if isinstance(error, (requests_errors.InvalidURL, requests_errors.InvalidProxyURL, requests_errors.InvalidSchema)):
        return InputError(f"cannot connect to {server}: its URL or the proxy's URL is not valid", "Check HTTPS_PROXY")
    if failure.find(socket.gaierror):
        return UnreachableError(
            f"the name of {server} cannot be resolved", "Check the image's name and the DNS of this host"
        )
    if isinstance(error, requests_errors.ProxyError):
        return UnreachableError(f"cannot connect to {server} through the proxy: {reason}", "Check HTTPS_PROXY")
    if failure.find(urllib3_errors.NewConnectionError, urllib3_errors.ConnectTimeoutError):
        advice = "Check the image's name, the firewalls on the path, and HTTPS_PROXY"
        return UnreachableError(f"cannot connect to {server}: {reason}", advice)
    return ConnectionLostError(f"the connection to {server} was interrupted: {reason}", "Check the network")


def _tls(failure: NetworkError, server: str) -> SourceError | None:
    untrusted, reason = failure.untrusted_certificate, failure.tls_reason
    if untrusted is not None:
        return SourceError(
            f"the certificate of {server} is not trusted: {untrusted}",
            "Set ca_cert in upstreams to the CA that signed it",
        )
    if reason is None:
        return None
    if any(alert in reason for alert in _CLIENT_CERTIFICATE_ALERTS):
        return SourceError(
            f"{server} requires a client certificate that it accepts ({reason})",
            "Set client_cert in upstreams, or add a certificate to certs.d",
        )
    return SourceError(
        f"TLS handshake with {server} failed: {reason}",
        "If the registry does not use TLS, set plain_http for it in upstreams",
    )
