# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Responses of a proxy, single sign-on or ingress in front of the API server, in place of the API server.

Since Kubernetes 1.22, the outermost handler of the API server sets the header ``Audit-Id`` of every response, with and
without an audit policy, also of error responses and of responses that it passes on from a Pod (k8s.io/apiserver,
``WithAuditInit``). Older API servers do not, and a proxy may remove the header. A response without the header is
therefore rejected only if this API server is known to set it, or if no server at its address provides its API.
"""

from __future__ import annotations

import html
import json
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import PROXY_STATUS, FrontProxyError, K8scrError, Retry
from ..http.body import in_memory, read_text
from ..http.headers import REGISTRY_HEADER, is_header_value, media_type_of, retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    import urllib3

_MARK = "Audit-Id"
_MARKUP = re.compile(r"(?is)<(script|style)\b.*?</\1>|<[^>]*>")
_ATTEMPTS_AFTER_404 = 3
"""An ingress controller that starts does not know its API servers yet."""
_SHOWN = 300
"""Characters of a body in messages."""
_LOG_IN = "Log in again or renew the token"
_ADVICE = {
    400: "Check the scheme, the host and the port of the API server",
    401: _LOG_IN,
    403: f"{_LOG_IN}, and check the rules of the proxy",
    404: "Check the host of the API server (server in the kubeconfig), and whether the ingress there knows it",
    413: "Raise the proxy's limit for the size of requests",
    **dict.fromkeys(PROXY_STATUS - {413}, "Check the load balancers and proxies on the path, and their time limits"),
}
_OTHER_ADVICE = f"{_LOG_IN}, or set host to an address of the API server without that proxy"


class FrontProxyCheck:
    """Distinguishes the responses of one API server from those of other servers at its address.

    Args:
        server: The API server's name in messages.
        ask_version: Requests ``/version`` from the API server, which all users may read.
    """

    def __init__(self, server: str, ask_version: Callable[[], urllib3.BaseHTTPResponse]) -> None:
        self._server = server
        self._ask_version = ask_version
        self._sets_mark: bool | None = None
        self._lock = threading.Lock()

    def check(self, response: urllib3.BaseHTTPResponse) -> urllib3.BaseHTTPResponse:
        """Return a response of the API server, or of a Pod behind it.

        Raises:
            FrontProxyError: Another server sent the response.
        """
        if _MARK in response.headers:
            self._sets_mark = True
            return response
        # Old API servers pass this header on from a Pod; no proxy sets it.
        if REGISTRY_HEADER in response.headers or not self._is_marked():
            return response
        content = read_text(response)
        if _is_of_api(content):
            # Proxies that respond for the API server, for example about missing permissions, use its format.
            return in_memory(response, content)
        raise self._error(response, content)

    def _is_marked(self) -> bool:
        """Return whether responses of the API server have the mark, or no server at its address has its API."""
        with self._lock:
            if self._sets_mark is None:
                try:
                    response = self._ask_version()
                except K8scrError:
                    return False
                content = read_text(response)
                if _MARK in response.headers:
                    self._sets_mark = True
                elif _is_of_api(content):
                    self._sets_mark = False
            return self._sets_mark is not False

    def _error(self, response: urllib3.BaseHTTPResponse, content: bytes) -> FrontProxyError:
        status = response.status
        reason = f"{status} {response.reason or ''}".strip()
        is_redirect = 300 <= status < 400
        details = f"a redirect to {_target(response.headers)}" if is_redirect else _text(response.headers, content)
        return FrontProxyError(
            f"a proxy, single sign-on or other server in place of {self._server} responded with {reason}"
            + (f": {details}" if details else ""),
            _ADVICE.get(status, _OTHER_ADVICE),
            status,
            Retry(_ATTEMPTS_AFTER_404) if status == 404 else None,
            retry_after(response.headers),
        )


def _is_of_api(content: bytes) -> bool:
    """Return whether a body is an error of the Kubernetes API, or the version of an API server."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and (value.get("kind") == "Status" or "gitVersion" in value)


def _target(headers: Mapping[str, str]) -> str:
    """Return the host of a redirect, without the rest of the address, which may contain secrets."""
    location = headers.get("Location", "")
    try:
        host = urlsplit(location).hostname if is_header_value(location) else None
    except ValueError:
        host = None
    return host or "itself"


def _text(headers: Mapping[str, str], content: bytes) -> str:
    """Return the beginning of a body's text, without markup.

    It ends with a whole word: the caller removes the secret path of a request, but would not recognize a part of it.
    """
    text = content.decode("utf-8", "replace")
    if "html" in media_type_of(headers) or text.lstrip().startswith("<"):
        text = html.unescape(_MARKUP.sub(" ", text))
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[:_SHOWN].rpartition(" ")[0]
