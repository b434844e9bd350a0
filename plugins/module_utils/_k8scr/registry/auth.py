# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Authentication to registries: anonymous, basic and with tokens.

RFC 7235 (challenges), RFC 7617 (basic), RFC 6750 (bearer); distribution, "Token Authentication Specification" and
"OAuth2 Token Authentication".
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from ..errors import InputError, K8scrError, RegistryError
from ..http.headers import is_header_value, retry_after
from ..oci.decimal import parse_decimal
from ..oci.manifest import load_json_object
from .auth_files import Credentials
from .response import RegistryResponse

_CLIENT = "k8scr"
_LIFETIME = 60
"""Seconds that a token is valid if the server does not return a lifetime."""
_RENEWED_BEFORE = 10.0
"""Seconds before its expiry at which a token is renewed, so that it is valid during the request."""

_LONGEST_HEADER = 4096
"""Characters of a challenge that are read; valid ones are shorter."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a token of the grammar, not a secret
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_SCHEME = re.compile(rf"({_TOKEN})(?=\s|,|$)(?!\s*=)")


@dataclass(frozen=True)
class Challenge:
    """A challenge of a response with status 401. The scheme and the names of its parameters are in lower case."""

    scheme: str
    parameters: dict[str, str]


@dataclass(frozen=True)
class _Grant:
    """The token server and the scope of a token."""

    realm: str
    service: str
    scope: str


@dataclass(frozen=True)
class _Token:
    header: str = field(repr=False)
    ends: float


@dataclass(eq=False)
class RegistryAuth:
    """Returns and renews the ``Authorization`` header for each repository of one registry.

    Attributes:
        registry: The registry's name in messages.
        find: Returns the credentials for a repository; called when the registry requires credentials.
        send: Sends one request to a token server, without following redirects, and reads the response. Its arguments
            are the method, the URL, the headers and the body.
        plain_http: Whether credentials may be sent without TLS.
    """

    registry: str
    find: Callable[[str], Credentials | None]
    send: Callable[[str, str, dict[str, str], str | None], RegistryResponse]
    plain_http: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._credentials: dict[str, Credentials | None] = {}
        self._headers: dict[str, str] = {}
        self._grants: dict[str, _Grant] = {}
        self._tokens: dict[tuple[_Grant, Credentials | None], _Token] = {}

    def header(self, repository: str) -> str | None:
        """Return the header for requests to a repository; ``None`` until the registry requires authentication.

        Raises:
            RegistryError: The token server does not renew the token.
        """
        with self._lock:
            grant = self._grants.get(repository)
            if grant:
                return self._token(grant, repository).header
            return self._headers.get(repository)

    def renew(self, repository: str, headers: Mapping[str, str], used: str | None) -> bool:
        """Renew the header after a response with status 401.

        Args:
            headers: The response's headers, with its challenges.
            used: The ``Authorization`` header of the request.

        Returns:
            Whether the header has changed, so that the request can be sent again.

        Raises:
            RegistryError: The token server does not return a token, or must not receive credentials.
            InputError: The credentials cannot be read.
        """
        challenges = parse_challenges(headers.get("WWW-Authenticate", ""))
        bearer = next((each for each in challenges if each.scheme == "bearer" and "realm" in each.parameters), None)
        with self._lock:
            credentials = self._credentials_for(repository)
            if credentials and credentials.registry_token:
                if not is_header_value(credentials.registry_token):
                    raise InputError(
                        f"the token for {self.registry} in {credentials.origin} is not valid", "Log in again"
                    )
                self._headers[repository] = f"Bearer {credentials.registry_token}"
            elif bearer:
                grant = _Grant(
                    bearer.parameters["realm"],
                    bearer.parameters.get("service", ""),
                    bearer.parameters.get("scope") or f"repository:{repository}:pull",
                )
                self._grants[repository] = grant
                return self._token(grant, repository, used).header != used
            elif credentials and any(each.scheme == "basic" for each in challenges):
                self._headers[repository] = _basic(credentials)
            return self._headers.get(repository) not in (None, used)

    def origin(self, repository: str) -> str | None:
        """Return the origin of the credentials for a repository, for messages; ``None`` without credentials."""
        with self._lock:
            credentials = self._credentials.get(repository)
            return credentials.origin if credentials else None

    def _credentials_for(self, repository: str) -> Credentials | None:
        if repository not in self._credentials:
            self._credentials[repository] = self.find(repository)
        return self._credentials[repository]

    def _token(self, grant: _Grant, repository: str, rejected: str | None = None) -> _Token:
        credentials = self._credentials_for(repository)
        token = self._tokens.get((grant, credentials))
        if token is None or token.ends - _RENEWED_BEFORE < time.monotonic() or token.header == rejected:
            token = self._tokens[grant, credentials] = self._fetch(grant, credentials)
        return token

    def _fetch(self, grant: _Grant, credentials: Credentials | None) -> _Token:
        scheme, host = self._token_server(grant.realm)
        server = f"the token server {host} of {self.registry}"
        if scheme != "https" and not (scheme == "http" and self.plain_http):
            raise RegistryError(
                f"{self.registry} requires sending credentials to {host:.200} without TLS",
                "Configure the registry's token server with https, or set plain_http for the registry in upstreams",
            )
        began = time.monotonic()
        response = self._request(grant, credentials)
        status = response.status_code
        if status != 200:
            # Omit the server's message, which may contain the credentials.
            after = retry_after(response.headers)
            raise RegistryError(
                f"{server} returned no token: status {status}", _advice(credentials), status, after=after
            )
        try:
            value = load_json_object(response.content, "its response")
            token = value.get("token") or value.get("access_token")
            lifetime = parse_decimal(str(value.get("expires_in") or _LIFETIME).partition(".")[0])
        except K8scrError:
            token = lifetime = None
        if not isinstance(token, str) or not is_header_value(token) or lifetime is None:
            raise RegistryError(f"{server} returned no token: the response is not valid", "Check the token server")
        # A token that has already expired is still used for one request.
        return _Token(f"Bearer {token}", began + max(lifetime, _RENEWED_BEFORE))

    def _token_server(self, realm: str) -> tuple[str, str]:
        try:
            parts = urlsplit(realm)
            # Reading the port raises ValueError if it is not valid.
            host = parts.hostname if parts.port != 0 else None
        except ValueError:
            host = None
        if not host or "@" in parts.netloc or not is_header_value(realm) or " " in realm:
            raise RegistryError(f"the token server of {self.registry} is not a URL", "Check the registry")
        return parts.scheme, host

    def _request(self, grant: _Grant, credentials: Credentials | None) -> RegistryResponse:
        scopes = [("scope", scope) for scope in grant.scope.split()]
        service = [("service", grant.service)] if grant.service else []
        if credentials and credentials.identity_token:
            refresh = [("grant_type", "refresh_token"), ("client_id", _CLIENT)]
            refresh.append(("refresh_token", credentials.identity_token))
            body = urlencode([*refresh, *service, ("scope", grant.scope)])
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return self.send("POST", grant.realm, headers, body)
        account = [("account", credentials.username)] if credentials else []
        query = urlencode([*service, *scopes, *account])
        separator = "&" if "?" in grant.realm else "?"
        headers = {"Authorization": _basic(credentials)} if credentials else {}
        return self.send("GET", f"{grant.realm}{separator}{query}", headers, None)


def parse_challenges(header: str) -> list[Challenge]:
    """Return the challenges of a ``WWW-Authenticate`` header, or of several that are joined by commas."""
    challenges: list[Challenge] = []
    header = header[:_LONGEST_HEADER]
    position = 0
    while position < len(header):
        parameter = _PARAMETER.match(header, position)
        if parameter and challenges:
            name, quoted, word = parameter.groups()
            value = word if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            challenges[-1].parameters.setdefault(name.lower(), value)
            position = parameter.end()
            continue
        scheme = _SCHEME.match(header, position)
        if scheme:
            challenges.append(Challenge(scheme[1].lower(), {}))
            position = scheme.end()
            continue
        position += 1
    return challenges


def _basic(credentials: Credentials) -> str:
    text = f"{credentials.username}:{credentials.password}"
    return "Basic " + base64.b64encode(text.encode()).decode()


def _advice(credentials: Credentials | None) -> str:
    if credentials is None:
        return (
            "Check the image's name: registries also deny access to images that do not exist. If it is correct, set"
            " credentials in upstreams, or log in with docker login or podman login"
        )
    return f"Check the credentials from {credentials.origin}, and the image's name"
