# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses in responses of a Pod behind the Pod proxy, which the API server rewrites in part."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from ..errors import RegistryError

try:
    import requests
except ImportError:  # reported by cluster.connect()
    pass

_UNSAFE = re.compile(r"[^!-~]|[\\#]")
_REDIRECTS = (301, 302, 303, 307, 308)
_OTHER_HOST = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?(?=[/?]|$)")


class PodAddresses:
    """Translates the addresses in responses of one Pod into addresses of the client's requests to it.

    Args:
        base_url: The address of the API server.
        prefix: The path of the Pod's port there, up to and including ``/proxy``.
        pod: The Pod's name.
    """

    def __init__(self, base_url: str, prefix: str, pod: str) -> None:
        self._base = urlsplit(base_url)
        self._prefix = prefix
        self._pod = pod

    def translate(self, response: requests.Response, base: str) -> None:
        """Translate the headers ``Location`` and ``Link`` of a response to a request below the base path ``base``.

        Raises:
            RegistryError: An address is outside of the Pod.
        """
        request, headers = response.request, response.headers
        if "Location" in headers:
            if response.status_code in _REDIRECTS and request.method in ("GET", "HEAD"):
                self._reject_storage(headers["Location"])
            headers["Location"] = self._inner_location(request, base, headers["Location"])
        if "Link" in headers:
            headers["Link"] = self._inner_links(request, base, headers["Link"])

    def _reject_storage(self, location: str) -> None:
        """Raise the error for a redirect to another host, which registries with remote storage return for blobs.

        Without the API server, this host usually does not reach the storage. The message contains only the host,
        because the rest of the address may be signed.
        """
        found = _OTHER_HOST.match(location)
        if found and self._parts(location) == ("", ""):
            raise RegistryError(
                f"the registry in Pod {self._pod} redirects downloads to its storage at {found[1]:.100}, outside of "
                "the Pod",
                "Set storage.redirect.disable: true in the registry's configuration, so that it returns the content",
            )

    def _inner_location(self, request: requests.PreparedRequest, base: str, location: str) -> str:
        """Translate the Location of a response into an address of the Pod (RFC 9110, section 10.2.2).

        The API server rewrites a Location to an address of its own. A Location that is not below the Pod's proxy
        would send the next request, with the user's credentials, to another API.
        """
        path, query = self._parts(location)
        for prefix in (self._base.path + self._prefix, self._prefix):
            if path.startswith(prefix + "/"):
                return self._inner_address(request, base, "Location", path[len(prefix) :], query)
        raise self._outside("Location")

    def _inner_links(self, request: requests.PreparedRequest, base: str, links: str) -> str:
        """Translate the Links to a next page (RFC 8288), which the API server does not rewrite.

        Links of other kinds are removed; no client needs them.
        """
        targets = [link["url"] for link in requests.utils.parse_header_links(links) if link.get("rel") == "next"]
        translated = [self._inner_address(request, base, "Link", *self._parts(target)) for target in targets]
        return ", ".join(f'<{target}>; rel="next"' for target in translated)

    def _parts(self, address: str) -> tuple[str, str]:
        """Return path and query of an address; both empty if its host is not that of the Pod's requests."""
        if _UNSAFE.search(address):
            return "", ""
        try:
            parts = urlsplit(address)
        except ValueError:
            return "", ""
        base = self._base
        # The Host header of a request omits the default port of the scheme.
        hosts = ("", base.netloc, base.netloc.removesuffix(":443" if base.scheme == "https" else ":80"))
        if parts.scheme not in ("", "http", "https") or parts.netloc.lower() not in hosts:
            return "", ""
        return parts.path, parts.query

    def _inner_address(self, request: requests.PreparedRequest, base: str, header: str, path: str, query: str) -> str:
        if not path.startswith(f"{base}/") or not is_safe_path(path):
            raise self._outside(header)
        path = path[len(base) :]
        own = urlsplit(request.url or "")
        return f"{own.scheme}://{own.netloc}{path}" + (f"?{query}" if query else "")

    def _outside(self, header: str) -> RegistryError:
        return RegistryError(
            f"the registry in Pod {self._pod} returned a {header} outside of the Pod, which was not followed",
            "Do not trust this registry, and check what runs in the Pod",
        )


def is_safe_path(path: str) -> bool:
    """Return whether the API server passes on a path unchanged."""
    if "%2f" in path.lower():
        return False
    decoded = unquote(path)
    segments = decoded.split("/")
    return (
        len(segments) > 1
        and not segments[0]
        and not _UNSAFE.search(decoded)
        and "%" not in decoded
        and all(
            segment not in ("", ".", "..") or (segment == "" and index == len(segments) - 2)
            for index, segment in enumerate(segments[1:])
        )
    )
