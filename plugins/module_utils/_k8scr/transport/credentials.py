# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load the address of a cluster and the credentials for it, with the precedence of kubernetes.core.

Options with an address and a credential need no file. Otherwise the precedence is: the kubeconfig or context of the
options, the service account of the Pod that the module runs in, the default kubeconfig. Options override single values
of the loaded configuration. A credential in the options replaces all loaded credentials: the API server would prefer a
client certificate of the kubeconfig to a token of the options.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from ..errors import ClusterError
from ..http.headers import is_header_value
from ..http.no_proxy import bypasses_proxy
from .api_server import Access
from .connection import Endpoint, base_url
from .failures import unsendable
from .impersonation import impersonation_headers
from .kubeconfig import Context, Kubeconfig
from .settings import ClusterSettings
from .static_kubeconfig import forget_files, read_plugin, read_static

BROKEN_VERSIONS = ("36.0.0", "36.0.1")
_RENEW_EVERY = 30.0
"""Seconds between checks whether a token expires soon. Without this pause, the library would run an exec plugin with
tokens of five minutes or less before every request."""


def import_kubernetes() -> None:
    """Import the official client.

    Raises:
        ClusterError: It is missing, or a version that cannot authenticate.
    """
    try:
        import kubernetes
    except ImportError:
        raise ClusterError(
            "the Python library kubernetes is not installed for the interpreter that runs this module",
            "Install kubernetes (24.2.0 or newer)",
        ) from None
    if kubernetes.__version__ in BROKEN_VERSIONS:
        raise ClusterError(
            f"the Python library kubernetes {kubernetes.__version__} sends requests without tokens",
            "Install a version other than " + " and ".join(BROKEN_VERSIONS),
        )


def load(settings: ClusterSettings) -> Access:
    """Return the address of a cluster and the credentials for it.

    Raises:
        ClusterError: No cluster is configured, or its configuration cannot be used.
    """
    loaded, user = _find(settings)
    authorization = _explicit_authorization(settings)
    explicit = settings.has_credential
    if explicit:
        renewed: Callable[[], str | None] = lambda: authorization  # noqa: E731 - a constant
    else:
        renewed = _RenewedToken(loaded) if loaded is not None else lambda: None
    return Access(_endpoint(settings, loaded, explicit), renewed, impersonation_headers(settings, user), _forget_files)


def _find(settings: ClusterSettings) -> tuple[Any, Mapping[str, Any]]:
    """Return the loaded Configuration, of the official client or a similar one, and the user of the kubeconfig.

    The Configuration is None if the settings are sufficient.
    """
    has_certificate = settings.client_cert is not None and settings.client_key is not None
    if settings.host and (settings.api_key is not None or settings.has_password or has_certificate):
        return None, {}
    if settings.kubeconfig is None and settings.context is None:
        pod = _service_account()
        if pod is not None:
            return pod, {}
    kubeconfig = Kubeconfig.find(settings.kubeconfig)
    if kubeconfig is None:
        if settings.host:
            return None, {}
        raise ClusterError(
            "no cluster is configured: no kubeconfig exists, and this is not a Pod with a service account",
            "Set kubeconfig, or host and api_key",
        )
    context = kubeconfig.choose(settings.context)
    user = context.user
    if settings.has_credential:
        # No plugin runs for a credential that is not used.
        context = replace(context, user={})
    try:
        static = read_static(context) or _from_plugin(kubeconfig, context)
        return static or _from_library(kubeconfig, context, settings), user
    except ClusterError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises arbitrary exceptions for malformed files
        raise ClusterError(f"{kubeconfig.name} cannot be used: {kubeconfig.redact(_first_line(error))}") from None


def _service_account() -> Any:
    if "KUBERNETES_SERVICE_HOST" not in os.environ or "KUBERNETES_SERVICE_PORT" not in os.environ:
        return None
    import_kubernetes()
    from kubernetes import config

    configuration = _empty_configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except (config.ConfigException, OSError):
        return None
    return configuration


def _from_plugin(kubeconfig: Kubeconfig, context: Context) -> Any:
    """Run the credential plugin of a context; None if it has none."""
    try:
        return read_plugin(context)
    except ClusterError as error:
        command = context.user["exec"].get("command")
        reason = kubeconfig.redact_output(error.message)
        message = f"the credential plugin {command} of {kubeconfig.name} failed: {reason}"
        raise ClusterError(message, error.advice) from None


def _from_library(kubeconfig: Kubeconfig, context: Context, settings: ClusterSettings) -> Any:
    import_kubernetes()
    from kubernetes import config

    configuration = _empty_configuration()
    with _library_log() as logged:
        options = {"context": context.name, "client_configuration": configuration}
        if kubeconfig.path is None:
            config.load_kube_config_from_dict(kubeconfig.documents[0], persist_config=False, **options)
        else:
            config.load_kube_config(kubeconfig.path, persist_config=settings.persist_config, **options)
    # Versions of the library before 30 do not load these two.
    configuration.proxy = configuration.proxy or context.cluster.get("proxy-url")
    configuration.tls_server_name = configuration.tls_server_name or context.cluster.get("tls-server-name")
    uses_provider = "auth-provider" in context.user
    if uses_provider and not _token(configuration) and not configuration.cert_file:
        reason = kubeconfig.redact(logged[0]) if logged else "it returned neither a token nor a certificate"
        raise ClusterError(
            f"the credential plugin auth-provider of {kubeconfig.name} failed: {reason}",
            "Run it manually to see what it needs, for example a login",
        )
    return configuration


def _forget_files() -> None:
    """Delete the temporary files with certificates and keys from the content of a kubeconfig."""
    forget_files()
    kube_config = sys.modules.get("kubernetes.config.kube_config")
    if kube_config is not None:
        # The library deletes them only when the process exits; a killed process would leave them.
        kube_config._cleanup_temp_files()


def _empty_configuration() -> Any:
    """Return a Configuration without a proxy. By default, the library reads the proxy from the environment."""
    from kubernetes.client import Configuration

    configuration = Configuration()
    configuration.proxy = None
    configuration.host = ""
    # Versions of the library before 30 do not have this attribute.
    configuration.tls_server_name = None
    return configuration


class _RenewedToken:
    """The token of a loaded configuration. The library's hook renews it before it expires."""

    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration
        self._lock = threading.Lock()
        self._checked_at = time.monotonic()

    def __call__(self) -> str | None:
        hook = self._configuration.refresh_api_key_hook
        with self._lock:
            if hook is not None and time.monotonic() - self._checked_at > _RENEW_EVERY:
                self._checked_at = time.monotonic()
                # If a renewal fails, the token may still be valid. If it is not, the API server returns 401.
                with _library_log(), contextlib.suppress(Exception):
                    hook(self._configuration)
            return _sendable(_token(self._configuration))


def _token(configuration: Any) -> str | None:
    keys: dict[str, str] = configuration.api_key
    return keys.get("BearerToken") or keys.get("authorization")


def _explicit_authorization(settings: ClusterSettings) -> str | None:
    if settings.api_key is not None:
        return _sendable(f"Bearer {settings.api_key}")
    if settings.has_password:
        pair = f"{settings.username}:{settings.password}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"
    return None


def _sendable(text: str | None) -> str | None:
    """Return a header with a token, without surrounding whitespace such as the line break of a token file."""
    text = text.strip() if text else None
    if text and not is_header_value(text):
        raise unsendable("the token")
    return text


def _endpoint(settings: ClusterSettings, loaded: Any, explicit: bool) -> Endpoint:
    from urllib3.util import make_headers

    base = base_url(settings.host or loaded.host)
    cert, key = settings.client_cert, settings.client_key
    if loaded is not None and not explicit:
        cert, key = loaded.cert_file, loaded.key_file
    proxy = settings.proxy or (loaded.proxy if loaded is not None else None)
    if proxy and bypasses_proxy(base, settings.no_proxy):
        proxy = None
    verify = settings.validate_certs
    if verify is None:
        verify = loaded is None or bool(loaded.verify_ssl)
    return Endpoint(
        base_url=base,
        ca_file=settings.ca_cert or (loaded.ssl_ca_cert if loaded is not None else None),
        verify=verify,
        client_cert=cert,
        client_key=key,
        server_name=settings.tls_server_name or (loaded.tls_server_name if loaded is not None else None),
        proxy=proxy,
        proxy_headers=tuple(make_headers(**asdict(settings.proxy_headers)).items()),
    )


@contextlib.contextmanager
def _library_log() -> Iterator[list[str]]:
    """Collect the log of the library, which reports some failures only there."""
    collected: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            collected.append(_first_line(record.getMessage()))

    collector = Collector(logging.ERROR)
    root = logging.getLogger()
    root.addHandler(collector)
    try:
        yield collected
    finally:
        root.removeHandler(collector)


def _first_line(reason: object) -> str:
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    return lines[0][:300]
