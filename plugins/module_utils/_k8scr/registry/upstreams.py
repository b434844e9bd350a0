# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Upstream registries and their mirrors as sources of images (``docker://REF``)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from ansible.module_utils.common.warnings import warn

from ..errors import K8scrError, SourceError
from ..http.retry import RETRY_TIMEOUT, Retries
from ..http.session import open_session
from ..http.slow_peer import MINIMUM_RATE
from ..oci.interfaces import SourceImage
from ..oci.reference import DOCKER_HUB, Reference
from .auth_files import Credentials, find_credentials
from .client import Registry
from .repository import Repository
from .tls_files import TlsFiles, find_tls_files

if TYPE_CHECKING:
    import requests

_Found = TypeVar("_Found")
TRANSPORT = "docker://"
_DOCKER_HUB_API = "registry-1.docker.io"
_CONNECT_TIMEOUT = 10.0
_MIRROR_TIMEOUT = 5.0
"""Seconds to keep retrying to find the first image in a mirror; another mirror or the registry may have it."""


@dataclass(frozen=True)
class UpstreamSettings:
    """The user's settings for one registry.

    Attributes:
        credentials: The given credentials; ``None`` to search the files of other tools.
        tls: The given TLS files, which are used in addition to those of other tools.
        plain_http: Whether the registry uses HTTP without TLS.
        mirrors: Registries to try first, each with the path prefix of this registry's repositories there.
    """

    credentials: Credentials | None = None
    tls: TlsFiles = field(default_factory=TlsFiles)
    validate_certs: bool = True
    plain_http: bool = False
    mirrors: tuple[tuple[str, str], ...] = field(default=())


@dataclass(eq=False)
class Upstreams:
    """The upstream registries of a task, each with its own connections and credentials.

    Attributes:
        settings: The settings of registries, by their hosts; a host that is not in it has the defaults.
        connections: The number of connections to each that stay open.
        timeout: Seconds to wait for the next byte.
        minimum_rate: Bytes a second of each connection, averaged over one minute; 0 for no minimum.
        retry_timeout: Seconds to keep retrying a failing request.
        on_retry: Called before each retry with the action that failed and the reason.
        on_recovery: Called when an action that was retried succeeds, makes progress or fails for good.
    """

    settings: Mapping[str, UpstreamSettings]
    connections: int = 4
    timeout: float = 60.0
    minimum_rate: int = MINIMUM_RATE
    retry_timeout: float = RETRY_TIMEOUT
    on_retry: Callable[[str, str], None] | None = None
    on_recovery: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        self._registries: dict[str, tuple[Registry, requests.Session]] = {}
        self._unavailable: set[str] = set()
        self._found: dict[Reference, Future[tuple[Repository, SourceImage]]] = {}
        self._lock = threading.Lock()

    def open(self, reference: Reference) -> tuple[Repository, SourceImage]:
        """Return an image from the first of its registry's mirrors that has it, or from the registry.

        If a reference has a digest, the digest selects the image, even if the tag has changed.

        Raises:
            SourceError: No registry has it.
            K8scrError: The registry cannot be reached or returned an error response.
        """
        found = self._found.get(reference)
        return found.result() if found else self._search(reference)

    def find_all(self, references: Iterable[Reference]) -> None:
        """Find many images in parallel; :meth:`open` then returns them without further requests."""
        with ThreadPoolExecutor(self.connections) as workers:
            self._found = {each: workers.submit(self._search, each) for each in dict.fromkeys(references)}

    def close(self) -> None:
        """Close all connections."""
        for _registry, session in self._registries.values():
            session.close()

    def tags_of(self, reference: Reference) -> list[str]:
        """Return the tags of a repository, from the first of its registry's mirrors that lists any, or its registry.

        Raises:
            SourceError: No registry has tags of it.
            K8scrError: The registry cannot be reached or returned an error response.
        """
        return self._first(reference, _list_tags)[1]

    def _search(self, reference: Reference) -> tuple[Repository, SourceImage]:
        def find(repository: Repository) -> SourceImage:
            return _find(repository, reference)

        return self._first(reference, find)

    def _first(self, reference: Reference, read: Callable[[Repository], _Found]) -> tuple[Repository, _Found]:
        """Return the first repository with the content: that of a mirror or that of the registry."""
        failures = []
        for host, path in self._settings_of(reference.host).mirrors:
            if host in self._unavailable:
                continue
            try:
                return self._read_from_mirror(host, f"{path}/{reference.path}" if path else reference.path, read)
            except K8scrError as error:
                if error.transient:
                    self._unavailable.add(host)
                failures.append(error.message)
        try:
            repository = Repository(self._registry(reference.host), reference.path)
            return repository, read(repository)
        except K8scrError as error:
            if failures:
                raise error.replace(f"{error.message} (mirrors: {'; '.join(failures)})") from error
            raise

    def _read_from_mirror(
        self, host: str, path: str, read: Callable[[Repository], _Found]
    ) -> tuple[Repository, _Found]:
        mirror = self._registry(host)
        repository = Repository(mirror, path)
        if mirror.retries.has_response:
            return repository, read(repository)
        policy = replace(mirror.retries, seconds=min(mirror.retries.seconds, _MIRROR_TIMEOUT))
        found = read(Repository(replace(mirror, retries=policy), path))
        mirror.retries.has_response = True
        return repository, found

    def _registry(self, host: str) -> Registry:
        with self._lock:
            if host not in self._registries:
                self._registries[host] = self._connect(host)
            return self._registries[host][0]

    def _connect(self, host: str) -> tuple[Registry, requests.Session]:
        from .upstream_adapter import UpstreamAdapter

        settings = self._settings_of(host)
        if settings.plain_http or not settings.validate_certs:
            what = f"connection to {host} is not encrypted"
            if not settings.plain_http:
                what = f"certificate of {host} is not checked"
            warn(f"The {what}: an attacker on the network can read and change all data.")
        timeouts = (_CONNECT_TIMEOUT, self.timeout)
        scheme = "http" if settings.plain_http else "https"
        url = f"{scheme}://{_DOCKER_HUB_API if host == DOCKER_HUB else host}"
        adapter = UpstreamAdapter(
            url,
            host,
            lambda repository: settings.credentials or find_credentials(host, repository),
            _tls_files(host, settings),
            settings.validate_certs,
            self.connections,
            timeouts,
            self.minimum_rate,
        )
        session = open_session(f"{url}/", adapter)
        retries = Retries(self.retry_timeout, on_retry=self.on_retry, on_recovery=self.on_recovery)
        return Registry(session, url, host, timeouts, retries), session

    def _settings_of(self, host: str) -> UpstreamSettings:
        return self.settings.get(host.lower(), UpstreamSettings())


def _find(repository: Repository, reference: Reference) -> SourceImage:
    wanted = reference.digest or reference.tag or "latest"
    root = repository.resolve(wanted)
    if root is None:
        raise SourceError(
            f"there is no image {wanted} in {repository.description}", "Check the image's name and its tag"
        )
    return SourceImage(root, reference)


def _list_tags(repository: Repository) -> list[str]:
    from .listing import tags

    found = list(tags(repository.store, repository.repository))
    if not found:
        raise SourceError(f"there are no tags in {repository.description}", "Check the name of the repository")
    return found


def _tls_files(host: str, settings: UpstreamSettings) -> TlsFiles:
    if settings.plain_http:
        return TlsFiles()
    found = find_tls_files(host)
    return TlsFiles((*settings.tls.authorities, *found.authorities), settings.tls.certificates or found.certificates)
