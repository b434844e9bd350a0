# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to an upstream registry: its TLS, its authentication, and the storage that it sends readers to.

This is the opposite of the way through the API server: here redirects are followed, as far as they are only read,
and challenges are answered. What is a secret of the registry goes to the registry and its token server alone.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from ..errors import RegistryError
from .auth import RegistryAuth
from .auth_files import Credentials
from .error_responses import let_go, read_errors
from .tls_files import TlsFiles
from .upstream_failures import explain

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
    from requests.utils import get_environ_proxies, requote_uri
    from urllib3.exceptions import HTTPError
except ImportError:  # the module reports what is missing; the class below must still be importable
    if not TYPE_CHECKING:
        HTTPAdapter = object

_REPOSITORY = re.compile(r"/v2/(?P<repository>.+)/(?:manifests|blobs|referrers)/[^/]+")
_CODE = re.compile("[A-Z_]{1,40}")
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5


class _TlsAdapter(HTTPAdapter):
    """Sends requests by a TLS context."""

    def __init__(self, context: ssl.SSLContext, pool_size: int) -> None:
        self._context = context
        super().__init__(pool_maxsize=pool_size)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Have connections use our TLS context."""
        super().init_poolmanager(*args, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Have connections through a proxy use our TLS context too."""
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context)

    def cert_verify(self, *_connection: Any) -> None:
        """Leave certificates to our TLS context; requests would add authorities of its own."""


class UpstreamAdapter(_TlsAdapter):
    """Sends requests to one upstream registry, with what it takes to be let in.

    Mount it on a session for the registry's URL. It reads only: redirects of GET and HEAD are followed, to other
    hosts without ``Authorization``. Proxies are those of the environment (``HTTPS_PROXY``, ``NO_PROXY``), as for
    the other tools that pull images.

    Args:
        url: The registry: scheme, host and port.
        registry: The registry, for people.
        find: Finds the credentials for a repository.
        tls: Certificate authorities to trust beside the system's, and the certificates that are ours, which the
            registry and its token server see alone.
        validate_certs: Whether certificates are checked.
        pool_size: How many connections are kept open.
        timeouts: Seconds to wait for a connection, and for the next byte, of the token server too.

    Raises:
        InputError: A file for TLS cannot be used.
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
    ) -> None:
        self._origin = _origin(url)
        self._registry = registry
        self._plain_http = url.startswith("http:")
        self._validate_certs = validate_certs
        self._timeouts = timeouts
        self._auth = RegistryAuth(registry, find, self, self._plain_http)
        files = tls or TlsFiles()
        self._storage = _TlsAdapter(_tls_context(files, validate_certs), pool_size)
        context = _tls_context(files, validate_certs)
        files.load_certificates(context)
        super().__init__(context, pool_size)

    def close(self) -> None:
        """Close all connections."""
        super().close()
        self._storage.close()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send one request; ``verify``, ``cert`` and ``proxies`` are left aside in favour of the registry's own.

        Raises:
            UnreachableError: No connection came to be.
            ConnectionLostError: It was cut or fell silent.
            RegistryError: The registry or its token server does not let us in, or sends us where we do not go.
            InputError: TLS failed for a reason that time does not heal, or the credentials cannot be read.
        """
        match = _REPOSITORY.match(urlsplit(request.url or "").path)
        repository = match["repository"] if match else ""
        used = self._auth.header(repository)
        response = self._follow(request, used, timeout)
        # Only the registry's own question is answered, not that of a host that it sends us to.
        if response.status_code == 401 and _origin(response.url) == self._origin:
            codes = _end(response)
            if not self._auth.renew(repository, response.headers, used):
                raise self._refused(response, repository, codes)
            response = self._follow(request, self._auth.header(repository), timeout)
        if response.status_code in (401, 403):
            raise self._refused(response, repository, _end(response))
        if not stream:
            response.content  # noqa: B018 - reading it is the point
        # The request that the response remembers is the caller's, without the credentials that were sent with it.
        response.request = request
        return response

    def ask_token_server(self, method: str, url: str, headers: dict[str, str], body: str | None) -> requests.Response:
        """See :meth:`TokenRoad.ask_token_server`."""
        try:
            request = requests.Request(method, url, headers=headers, data=body).prepare()
        except OSError:  # which requests' own errors are
            raise RegistryError(
                f"{self._registry} names a token server that is not a URL", "Look at what answers there"
            ) from None
        return self._send_once(request, self._timeouts, super().send)

    def _follow(self, request: requests.PreparedRequest, authorization: str | None, timeout: Any) -> requests.Response:
        hop = request.copy()
        for _redirect in range(_MOST_REDIRECTS + 1):
            hop.headers.pop("Authorization", None)
            at_home = _origin(hop.url) == self._origin
            if authorization and at_home:
                hop.headers["Authorization"] = authorization
            response = self._send_once(hop, timeout, super().send if at_home else self._storage.send)
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not location or hop.method not in ("GET", "HEAD"):
                return response
            let_go(response)
            hop.url = self._target(hop.url, location)
        raise RegistryError(f"{self._registry} redirects without end", "Look at what answers there")

    def _target(self, url: str | None, location: str) -> str:
        """Return where a redirect leads; what it holds beyond the host may be a secret, and is not shown."""
        try:
            target = requote_uri(urljoin(url or "", location))
            parts = urlsplit(target)
            host = parts.hostname if parts.port != 0 else None
        except ValueError:
            host = None
        if not host or "@" in parts.netloc or parts.scheme not in ("https", "http"):
            raise RegistryError(f"{self._registry} redirects to what is not a URL", "Look at what answers there")
        if parts.scheme == "http" and not self._plain_http:
            raise RegistryError(
                f"{self._registry} redirects to {host} without TLS", "Have it use https, or allow this with plain_http"
            )
        return target

    def _send_once(
        self, request: requests.PreparedRequest, timeout: Any, send: Callable[..., requests.Response]
    ) -> requests.Response:
        where = urlsplit(request.url or "").netloc
        who = self._registry if _origin(request.url) == self._origin else f"{where}, for {self._registry}"
        try:
            response = send(
                request,
                stream=True,
                timeout=timeout,
                verify=self._validate_certs,
                proxies=get_environ_proxies(request.url or "", None),
            )
        except (OSError, HTTPError) as error:
            # Without the cause: it shows whole URLs, and those of storage hold signatures.
            raise explain(error, who) from None
        # Before version 2 urllib3 takes a body that was cut for a whole one, unless it is told not to.
        response.raw.enforce_content_length = True
        return response

    def _refused(self, response: requests.Response, repository: str, codes: tuple[str, ...]) -> RegistryError:
        status = response.status_code
        if self._origin != _origin(response.url):
            who = f"{urlsplit(response.url).hostname}, where {self._registry} sends us,"
            return RegistryError(f"{who} answered {status}", "Run again; what it was sent may have expired", status)
        origin = self._auth.origin(repository)
        if origin:
            advice = f"Check the credentials from {origin}, what they may pull, and the image's name"
        else:
            advice = (
                "Check the image's name. If it is right, give credentials in upstreams, or log in with docker login"
                " or podman login"
            )
        said = f" ({', '.join(codes)})" if codes else ""
        return RegistryError(
            f"{self._registry} does not let us read {repository}: it answered {status}{said}", advice, status, codes
        )


def _end(response: requests.Response) -> tuple[str, ...]:
    """End a refusal, and return its codes; its texts may repeat what it was sent, and are left aside."""
    with response:
        codes, _texts = read_errors(response)
    return tuple(code for code in codes if _CODE.fullmatch(code))


def _origin(url: str | None) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url or "")
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _tls_context(files: TlsFiles, validate_certs: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    files.load_authorities(context)
    # A company's CA may lack extensions that a strict verifier wants and other tools do not; chain, names and dates
    # stay.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not hasattr(urllib3, "BaseHTTPResponse"):
        # Before version 2 it must compare the name itself, for it does not tell the context an IP address.
        context.check_hostname = False
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
