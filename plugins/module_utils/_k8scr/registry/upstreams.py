# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Upstream registries as sources of images (``docker://REF``)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any

from ansible.module_utils.common.warnings import warn

from ..errors import K8scrError, SourceError, UnreachableError
from ..http.retry import Retries
from ..oci.interfaces import SourceImage
from ..oci.reference import DOCKER_HUB, Reference
from .auth_files import Credentials, find_credentials
from .client import Registry
from .repository import Repository
from .tls_files import TlsFiles, find_tls_files

try:
    import requests
except ImportError:
    # The module reports what is missing.
    pass

TRANSPORT = "docker://"
_DOCKER_HUB_API = "registry-1.docker.io"
_CONNECT_TIMEOUT = 10.0


@dataclass(frozen=True)
class UpstreamSettings:
    """What the user says about one registry.

    Attributes:
        credentials: Those given; ``None`` to look where other tools keep them.
        tls: The files given for TLS, beside those that are where other tools keep them.
        validate_certs: Whether its certificate is checked.
        plain_http: Whether it speaks HTTP without TLS.
        mirrors: Registries to ask before it, each with the path that stands for it there, if any.
    """

    credentials: Credentials | None = None
    tls: TlsFiles = field(default_factory=TlsFiles)
    validate_certs: bool = True
    plain_http: bool = False
    mirrors: tuple[tuple[str, str], ...] = field(default=())


class Upstreams:
    """The upstream registries that images are read from; each has connections and credentials of its own.

    Args:
        settings: The settings of registries, by their hosts; a host that is not in it has the defaults.
        connections: How many connections to each are kept open.
        timeout: Seconds to wait for the next byte.
        patience: Seconds that something may go on failing before it is given up.
    """

    def __init__(
        self,
        settings: Mapping[str, UpstreamSettings],
        connections: int = 4,
        timeout: float = 60.0,
        patience: float = 120.0,
    ) -> None:
        self._settings = settings
        self._connections = connections
        self._timeouts = (_CONNECT_TIMEOUT, timeout)
        self._patience = patience
        self._registries: dict[str, tuple[Registry, requests.Session]] = {}
        self._unreachable: set[str] = set()
        self._found: dict[Reference, Future[tuple[Repository, SourceImage]]] = {}
        self._lock = threading.Lock()

    def open(self, reference: Reference) -> tuple[Repository, SourceImage]:
        """Find an image, in the first of its registry's mirrors that has it or in the registry itself.

        A reference with a digest means the content of that digest, whatever the tag has become since.

        Raises:
            SourceError: None has it.
            K8scrError: The registry does not let us see.
        """
        found = self._found.get(reference)
        return found.result() if found else self._search(reference)

    def find_all(self, references: Iterable[Reference]) -> None:
        """Find many images at once, so that :meth:`open` has them without asking again."""
        with ThreadPoolExecutor(self._connections) as workers:
            self._found = {
                reference: workers.submit(self._search, reference) for reference in dict.fromkeys(references)
            }

    @property
    def retries(self) -> list[dict[str, Any]]:
        """What was tried again, why, and how often, for a module's result."""
        return [entry for registry, _session in self._registries.values() for entry in registry.retries.account]

    def close(self) -> None:
        """Close all connections."""
        for _registry, session in self._registries.values():
            session.close()

    def _search(self, reference: Reference) -> tuple[Repository, SourceImage]:
        failures = []
        for host, path in self._settings_of(reference.host).mirrors:
            if host in self._unreachable:
                continue
            try:
                return self._find(host, f"{path}/{reference.path}" if path else reference.path, reference)
            except K8scrError as error:
                if isinstance(error, UnreachableError):
                    self._unreachable.add(host)
                failures.append(error.message)
        try:
            return self._find(reference.host, reference.path, reference)
        except K8scrError as error:
            if failures:
                error.message = f"{error.message} (and before: {'; '.join(failures)})"
            raise

    def _find(self, host: str, path: str, reference: Reference) -> tuple[Repository, SourceImage]:
        repository = Repository(self._registry(host), path)
        wanted = reference.digest or reference.tag or "latest"
        root = repository.resolve(wanted)
        if root is None:
            raise SourceError(
                f"there is no image {wanted} in {repository.description}", "Check the image's name and its tag"
            )
        return repository, SourceImage(root, reference)

    def _registry(self, host: str) -> Registry:
        with self._lock:
            if host not in self._registries:
                self._registries[host] = self._connect(host)
            return self._registries[host][0]

    def _connect(self, host: str) -> tuple[Registry, requests.Session]:
        from .upstream_adapter import UpstreamAdapter

        session = requests.Session()
        # Nothing of ~/.netrc: what is for a registry is said where registries' tools look for it.
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.adapters.clear()
        settings = self._settings_of(host)
        if settings.plain_http:
            warn(
                f"The connection to {host} is not encrypted: anyone on the network path can read and change everything."
            )
        elif not settings.validate_certs:
            warn(
                f"The certificate of {host} is not checked: anyone on the network path can read and change everything."
            )
        scheme = "http" if settings.plain_http else "https"
        url = f"{scheme}://{_DOCKER_HUB_API if host == DOCKER_HUB else host}"
        adapter = UpstreamAdapter(
            url,
            host,
            lambda repository: settings.credentials or find_credentials(host, repository),
            _tls_files(host, settings),
            settings.validate_certs,
            self._connections,
            self._timeouts,
        )
        session.mount(f"{url}/", adapter)
        return Registry(session, url, host, self._timeouts, Retries(self._patience)), session

    def _settings_of(self, host: str) -> UpstreamSettings:
        return self._settings.get(host.lower(), UpstreamSettings())


def _tls_files(host: str, settings: UpstreamSettings) -> TlsFiles:
    if settings.plain_http:
        return TlsFiles()
    found = find_tls_files(host)
    return TlsFiles((*settings.tls.authorities, *found.authorities), settings.tls.certificates or found.certificates)
