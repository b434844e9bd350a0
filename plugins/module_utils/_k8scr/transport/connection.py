# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to the API server: addresses, TLS, proxies."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ..errors import ClusterError
from ..files.file_access import is_file, read_small
from ..files.vault import reject_vaulted_files
from ..http.streaming_connection import socket_options, streaming
from ..http.tls import client_context, load_client_certificate

try:
    import urllib3
except ImportError:  # the module reports missing libraries
    pass

if TYPE_CHECKING:
    from urllib3.connectionpool import HTTPConnectionPool

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Endpoint:
    """An API server and how to connect to it.

    Attributes:
        base_url: ``https://host:port[/base/path]``, as :func:`base_url` writes it.
        ca_file: PEM file of the trusted certificate authorities; None for the system's.
        verify: Whether the server's certificate is checked.
        client_cert: PEM file of the client certificate, or None.
        client_key: PEM file of its key; None if the certificate's file contains it.
        server_name: The name in the server's certificate, if it is not the host.
        proxy: URL of the HTTP or SOCKS proxy with its user and password, or None.
        proxy_headers: Headers for that proxy.
        fingerprint: Digests of the three files' content. Their names do not identify it: files made from a
            kubeconfig's data get new names each time, and a renewed certificate keeps its name.
    """

    base_url: str
    ca_file: str | None = field(default=None, compare=False)
    verify: bool = True
    client_cert: str | None = field(default=None, compare=False)
    client_key: str | None = field(default=None, compare=False)
    server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    proxy_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    fingerprint: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", _fingerprint(self.ca_file, self.client_cert, self.client_key))

    @property
    def name(self) -> str:
        """The server's name in messages: host and port, no secrets."""
        return f"the API server {urlsplit(self.base_url).netloc}"


def base_url(host: str) -> str:
    """Return an API server's configured address in normal form: scheme, lower-case host, port, path without last slash.

    Raises:
        ClusterError: It is not an http or https URL, or has parts that are not valid in an API server's address.
    """
    try:
        parts = urlsplit(host.strip())
        port = _DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port
    except ValueError:
        raise ClusterError("the host of the API server is not a URL", "Write it as https://HOST:PORT") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or not port:
        raise ClusterError("the host of the API server is not a URL", "Write it as https://HOST:PORT")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ClusterError(
            "the host of the API server has a user name, a query or a fragment",
            "Write it as https://HOST:PORT and give credentials with their own options",
        )
    hostname = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{hostname}:{port}{parts.path.rstrip('/')}"


def _fingerprint(*files: str | None) -> str:
    digests = []
    for file in files:
        content = b""
        # Opening the connection pool reports unreadable and special files.
        with contextlib.suppress(OSError):
            content = read_small(file) if file and is_file(file) else b""
        digests.append(hashlib.sha256(content).hexdigest())
    return " ".join(digests)


def request_target(base: str, url: str) -> str:
    """Return path and query of an absolute URL, which must be below the server's base URL.

    Raises:
        ClusterError: The URL belongs to another server, or leaves the base path after the server has decoded it;
            credentials must not be sent there.
    """
    allowed = urlsplit(base)
    try:
        target = urlsplit(url)
        port = target.port or _DEFAULT_PORTS.get(target.scheme)
    except ValueError:
        raise ClusterError("the request cannot be sent: its address is not a URL") from None
    decoded = unquote(target.path)
    is_below = target.path.startswith(f"{allowed.path}/")
    has_dot_segment = any(segment in (".", "..") for segment in decoded.replace("\\", "/").split("/"))
    same_server = (target.scheme, target.hostname, port) == (allowed.scheme, allowed.hostname, allowed.port)
    has_control = any(ord(character) <= 0x20 or ord(character) == 0x7F for character in url)
    if not same_server or "@" in target.netloc or not is_below or has_dot_segment or has_control or "\\" in decoded:
        raise ClusterError(
            f"the request's URL is outside {base}, so the credentials were not sent", "This is a bug or an attack"
        )
    return f"{target.path}?{target.query}" if target.query else target.path


def open_pool(endpoint: Endpoint, size: int, timeout: float, minimum_rate: int) -> HTTPConnectionPool:
    """Return a pool of persistent HTTP/1.1 connections to an API server, without opening one.

    Args:
        size: The number of connections that stay open.
        timeout: Seconds without progress after which sending fails.
        minimum_rate: Bytes a second of each connection in each direction; 0 for no minimum.

    Raises:
        ClusterError: The CA, the client certificate or the proxy cannot be used.
    """
    parts = urlsplit(endpoint.base_url)
    options: dict[str, Any] = {"maxsize": size, "socket_options": socket_options()}
    if parts.scheme == "https":
        options["ssl_context"] = _tls_context(endpoint)
        if endpoint.server_name:
            options["server_hostname"] = endpoint.server_name
    manager = _manager(endpoint, options)
    pool: HTTPConnectionPool = manager.connection_from_host(parts.hostname, parts.port, parts.scheme)
    pool.ConnectionCls = streaming(pool.ConnectionCls, timeout, minimum_rate)
    return pool


def _manager(endpoint: Endpoint, options: dict[str, Any]) -> Any:
    if not endpoint.proxy:
        return urllib3.PoolManager(**options)
    try:
        proxy = urllib3.util.parse_url(endpoint.proxy)
    except urllib3.exceptions.LocationParseError:
        raise _invalid_proxy() from None
    if proxy.port == 0:
        raise _invalid_proxy()
    if proxy.scheme in ("socks4", "socks4a", "socks5", "socks5h"):
        try:
            from urllib3.contrib.socks import SOCKSProxyManager
        except ImportError:
            raise ClusterError("a SOCKS proxy requires the Python library PySocks", "Install PySocks") from None
        return SOCKSProxyManager(endpoint.proxy, **options)
    if proxy.scheme not in _DEFAULT_PORTS or not proxy.host:
        raise _invalid_proxy()
    headers = dict(endpoint.proxy_headers)
    if proxy.auth:
        headers.update(urllib3.util.make_headers(proxy_basic_auth=unquote(proxy.auth)))
    address = proxy._replace(auth=None).url
    return urllib3.ProxyManager(address, proxy_headers=headers, **options)


def _invalid_proxy() -> ClusterError:
    return ClusterError("the proxy is not the URL of an HTTP or SOCKS proxy", "Write it as http://HOST:PORT")


def _tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    try:
        reject_vaulted_files((endpoint.ca_file, endpoint.client_cert, endpoint.client_key))
        context = client_context(endpoint.ca_file, endpoint.verify)
    except FileNotFoundError:
        raise ClusterError(f"the CA file {endpoint.ca_file} does not exist", "Check ca_cert") from None
    except OSError:  # the exceptions of ssl are OSErrors
        raise ClusterError(
            f"the CA file {endpoint.ca_file} cannot be read as PEM certificates", "Check ca_cert"
        ) from None
    # Like kubectl, trust any given certificate, root or not.
    context.verify_flags |= getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0)
    if endpoint.client_cert:
        _load_client_certificate(context, endpoint.client_cert, endpoint.client_key)
    return context


def _load_client_certificate(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    try:
        load_client_certificate(context, cert, key)
    except FileNotFoundError:
        raise ClusterError(
            f"the client certificate {cert} or its key {key or ''} does not exist", "Check client_cert and client_key"
        ) from None
    except (OSError, ValueError):
        raise ClusterError(
            f"the client certificate {cert} and its key cannot be used: not PEM, encrypted, or not of one pair",
            "Check client_cert and client_key",
        ) from None
