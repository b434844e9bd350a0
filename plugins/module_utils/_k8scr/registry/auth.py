# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who we are for a registry: anonymous, basic and token authentication.

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
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlencode, urlsplit

from ..errors import InputError, K8scrError, RegistryError
from ..oci.manifest import MAXIMUM_SIZE, load_json_object
from .auth_files import Credentials
from .error_responses import read_limited

if TYPE_CHECKING:
    import requests

_CLIENT = "k8scr"
_LIFETIME = 60.0
"""Seconds that a token is good for where the server does not say."""
_SPARE = 10.0
"""Seconds before its end at which a token is renewed: a request takes its time too."""

_LONGEST_HEADER = 4096
"""Characters of a challenge that are read; no honest one is longer."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the grammar's word for a word
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_SCHEME = re.compile(rf"({_TOKEN})(?=\s|,|$)(?!\s*=)")


class TokenRoad(Protocol):
    """How token servers are reached."""

    def ask_token_server(self, method: str, url: str, headers: dict[str, str], body: str | None) -> requests.Response:
        """Send one request, once; a redirect is an answer like any other."""


@dataclass(frozen=True)
class Challenge:
    """What an answer with status 401 asks for.

    Attributes:
        scheme: The kind of authentication, in lower case.
        parameters: What else it says, with names in lower case.
    """

    scheme: str
    parameters: dict[str, str]


@dataclass(frozen=True)
class _Grant:
    """What a token is for."""

    realm: str
    service: str
    scope: str


@dataclass(frozen=True)
class _Token:
    value: str = field(repr=False)
    ends: float = 0.0

    @property
    def header(self) -> str:
        return f"Bearer {self.value}"


class RegistryAuth:
    """Finds the ``Authorization`` header for each repository of one registry, and renews it.

    Args:
        registry: The registry, for people.
        find: Finds the credentials for a repository; asked when the registry wants some.
        road: The way to the registry's token server.
        plain_http: Whether credentials may travel without TLS.
    """

    def __init__(
        self, registry: str, find: Callable[[str], Credentials | None], road: TokenRoad, plain_http: bool = False
    ) -> None:
        self._registry = registry
        self._find = find
        self._road = road
        self._plain_http = plain_http
        self._lock = threading.Lock()
        self._credentials: dict[str, Credentials | None] = {}
        self._headers: dict[str, str] = {}
        self._grants: dict[str, _Grant] = {}
        self._tokens: dict[tuple[_Grant, Credentials | None], _Token] = {}

    def header(self, repository: str) -> str | None:
        """Return the header for a request to this repository; ``None`` while the registry has not asked for one.

        Raises:
            RegistryError: The token server refuses to renew a token.
        """
        with self._lock:
            grant = self._grants.get(repository)
            if grant:
                return self._token(grant, repository).header
            return self._headers.get(repository)

    def renew(self, repository: str, headers: Mapping[str, str], used: str | None) -> bool:
        """Do what an answer with status 401 asks for.

        Args:
            repository: The repository that the request was for.
            headers: The answer's headers.
            used: The header that the request had.

        Returns:
            Whether there is another header than the one that was used, so that trying again makes sense.

        Raises:
            RegistryError: The token server refuses, or is nobody to give credentials to.
            InputError: The credentials cannot be read.
        """
        challenges = parse_challenges(headers.get("WWW-Authenticate", ""))
        bearer = next((each for each in challenges if each.scheme == "bearer" and "realm" in each.parameters), None)
        with self._lock:
            credentials = self._credentials_for(repository)
            if credentials and credentials.registry_token:
                if not _is_header_value(credentials.registry_token):
                    raise InputError(
                        f"the token for {self._registry} in {credentials.origin} is not one", "Log in again"
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
        """Where the credentials for a repository came from, for people; ``None`` if there are none."""
        with self._lock:
            credentials = self._credentials.get(repository)
            return credentials.origin if credentials else None

    def _credentials_for(self, repository: str) -> Credentials | None:
        if repository not in self._credentials:
            self._credentials[repository] = self._find(repository)
        return self._credentials[repository]

    def _token(self, grant: _Grant, repository: str, refused: str | None = None) -> _Token:
        credentials = self._credentials_for(repository)
        token = self._tokens.get((grant, credentials))
        if token is None or token.ends - _SPARE < time.monotonic() or token.header == refused:
            token = self._tokens[grant, credentials] = self._fetch(grant, credentials)
        return token

    def _fetch(self, grant: _Grant, credentials: Credentials | None) -> _Token:
        scheme, host = self._token_server(grant.realm)
        who = f"the token server {host} of {self._registry}"
        if scheme != "https" and not (scheme == "http" and self._plain_http):
            raise RegistryError(
                f"{self._registry} wants credentials to be sent without TLS, to {host:.200}",
                "Have it name a token server with https, or allow this with plain_http",
            )
        began = time.monotonic()
        with self._ask(grant, credentials) as response:
            status = response.status_code
            content = read_limited(response, MAXIMUM_SIZE) if status == 200 else b""
        if status != 200:
            # Without what it said: a server may repeat what it was sent.
            raise RegistryError(f"{who} gives no token: it answered {status}", _advice(credentials), status)
        try:
            value = load_json_object(content, "its answer")
            token = value.get("token") or value.get("access_token")
            lifetime = float(value.get("expires_in") or _LIFETIME)
        except (K8scrError, TypeError, ValueError, OverflowError):
            token = None
        if not isinstance(token, str) or not _is_header_value(token):
            raise RegistryError(f"{who} gives no token: its answer has none", "Look at what answers there")
        # One that ends before it could be used is used all the same, once.
        return _Token(token, began + max(lifetime, _SPARE))

    def _token_server(self, realm: str) -> tuple[str, str]:
        """The scheme and the host of a token server."""
        try:
            parts = urlsplit(realm)
            # A port that is none is found out when it is looked at.
            host = parts.hostname if parts.port != 0 else None
        except ValueError:
            host = None
        if not host or "@" in parts.netloc or not _is_header_value(realm) or " " in realm:
            raise RegistryError(
                f"{self._registry} names a token server that is not a URL", "Look at what answers there"
            )
        return parts.scheme, host

    def _ask(self, grant: _Grant, credentials: Credentials | None) -> requests.Response:
        scopes = [("scope", scope) for scope in grant.scope.split()]
        service = [("service", grant.service)] if grant.service else []
        if credentials and credentials.identity_token:
            refresh = [("grant_type", "refresh_token"), ("client_id", _CLIENT)]
            refresh.append(("refresh_token", credentials.identity_token))
            body = urlencode([*refresh, *service, ("scope", grant.scope)])
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._road.ask_token_server("POST", grant.realm, headers, body)
        account = [("account", credentials.username)] if credentials else []
        query = urlencode([*service, *scopes, *account])
        separator = "&" if "?" in grant.realm else "?"
        headers = {"Authorization": _basic(credentials)} if credentials else {}
        return self._road.ask_token_server("GET", f"{grant.realm}{separator}{query}", headers, None)


def parse_challenges(header: str) -> list[Challenge]:
    """Return what a ``WWW-Authenticate`` header asks for; several headers may be joined by commas."""
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
        return "Give credentials in upstreams, or log in with docker login or podman login"
    return f"Check the credentials from {credentials.origin}"


def _is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable()
