# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The errors that users see: what failed, the reason, and what to do.

Modules catch :class:`K8scrError` once, at their boundary; any other exception is a bug. Each error states how to retry
the failed action; :mod:`.http.retry` performs the retries.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

_FEW_ATTEMPTS = 3
TRANSIENT_STATUS: Mapping[int, int | None] = {
    **dict.fromkeys((408, 425, 429, 499, 502, 503, 504, 509, 520, 521, 522, 523, 524, 527)),
    # These are transient or permanent. For example, a 500 is a connection that closed at that moment (``EOF``), or a
    # fault; a 421 is a connection that the client used again for another host, or a wrong configuration.
    **dict.fromkeys((421, 500, 525, 530), _FEW_ATTEMPTS),
}
"""The status codes of all servers after which a retry may help, and the number of attempts (None for no limit).

The codes without an RFC: 499 of nginx and of load balancers of cloud providers (the connection to the server closed),
509 of hosting panels (bandwidth limit), and 520 to 530 of Cloudflare. Its 526, an invalid certificate of the server, is
permanent.
"""
PROXY_STATUS = frozenset((413, 526, *TRANSIENT_STATUS)) - {429, 500}
"""The status codes that proxies and load balancers return on their own, rather than the server behind them."""

_UNREADABLE = 500

_Error = TypeVar("_Error", bound="K8scrError")


@dataclass(frozen=True)
class Retry:
    """How to retry a failed action.

    Attributes:
        attempts: The number of attempts that errors of this kind justify; None for no limit but the retry timeout.
        after: The minimum seconds before the next attempt, as the server requests them.
        despite_progress: Whether progress between the attempts does not add attempts.
    """

    attempts: int | None = None
    after: float = 0.0
    despite_progress: bool = False


class K8scrError(Exception):
    """An error that is explained to the user and not shown as a traceback.

    Its text is one line, even if names from archives, registries or playbooks contain line breaks.

    Args:
        message: What failed, on which object, and why; one sentence without its full stop.
        advice: What the user can do; one sentence without its full stop.
        retry: How to retry the failed action; None for the default of the class, which is not to retry.
    """

    retry: Retry | None = None
    values: Mapping[str, Any] = {}
    """Values of the module's result that are known when the error ends the module."""

    def __init__(self, message: str, advice: str | None = None, retry: Retry | None = None) -> None:
        super().__init__(message)
        self.message = one_line(message)
        self.advice = one_line(advice) if advice else None
        self.retry = retry or self.retry

    def __str__(self) -> str:
        # A message may end with that of a registry or of the API server, with its period.
        return f"{self.message.removesuffix('.')}. {self.advice}." if self.advice else self.message

    @property
    def transient(self) -> bool:
        """Whether a retry may help."""
        return self.retry is not None

    def replace(
        self: _Error, message: str | None = None, advice: str | None = None, retry: Retry | None = None
    ) -> _Error:
        """Return a copy of this error with another message, advice or retry."""
        replaced = copy.copy(self)
        replaced.message = one_line(message) if message else self.message
        replaced.advice = one_line(advice) if advice else self.advice
        replaced.retry = retry or self.retry
        return replaced


def failure_lines(failures: Iterable[tuple[str, K8scrError]]) -> list[str]:
    """Return the lines of a message about several failures, without repetitions.

    A reason that several names share is followed by the names, one a line. An advice that several names share follows
    their reasons.

    Args:
        failures: The names of images or other objects, and their errors. A name is empty if the message has it.
    """
    advised: dict[str | None, dict[str, list[str]]] = {}
    for name, error in failures:
        advised.setdefault(error.advice, {}).setdefault(error.message, []).append(name)
    lines = []
    for advice, reasons in advised.items():
        texts = [text for reason, names in reasons.items() for text in _reason_lines(reason, names)]
        if advice and len(texts) == 1:
            texts = [f"{texts[0]}. {advice}."]
        elif advice:
            texts.append(f"{advice}.")
        lines += texts
    return lines


def _reason_lines(reason: str, names: list[str]) -> list[str]:
    shown = list(dict.fromkeys(filter(None, names)))
    if len(shown) > 1:
        return [f"{reason}:", *(f"  {name}" for name in shown)]
    return [f"{shown[0]}: {reason}" if shown else reason]


def one_line(text: str) -> str:
    """Return ``text`` with a space for each line break and each other character that is not printable."""
    return "".join(character if character.isprintable() else " " for character in text)


class InputError(K8scrError):
    """A reference, a location or an option is not valid."""


class SourceError(K8scrError):
    """The source of an image does not have it, is damaged or is not valid."""


class MissingManifestError(SourceError):
    """The source of an image does not have one of its manifests, for example because not all platforms were saved."""


class MissingBlobError(SourceError):
    """The source of an image does not have one of its blobs."""


class MissingVolumeError(SourceError):
    """A blob is on a volume of a bundle that is not at hand."""


class DestinationError(K8scrError):
    """The destination of an image cannot store it: disk full, no permission, in use."""


class DigestMismatchError(K8scrError):
    """Content does not have the expected digest."""


class DamagedPartError(DigestMismatchError):
    """A part of a blob on a volume is damaged, so a later run must not resume the upload of the blob."""


class ClusterError(K8scrError):
    """The API server cannot be used: configuration, credentials, TLS, network."""


class ErrorResponseError(K8scrError):
    """An HTTP server returned an error response.

    Attributes:
        confirms_address: Whether the response shows that the address is correct.
        after: The seconds of the response's ``Retry-After`` header, also if no retry helps.

    Args:
        retry: How to retry the request; None to decide by the status code.
        after: The seconds of the response's ``Retry-After`` header.
    """

    confirms_address = True

    def __init__(
        self, message: str, advice: str | None = None, status: int = 0, retry: Retry | None = None, after: float = 0.0
    ) -> None:
        if retry is None and status in TRANSIENT_STATUS:
            retry = Retry(TRANSIENT_STATUS[status], after)
        super().__init__(message, advice, retry)
        self.status = status
        self.after = after


class ApiServerError(ErrorResponseError):
    """The API server returned an error response: not found, forbidden, Pod unreachable."""


class PodUnreachableError(ApiServerError):
    """The API server responded that the Pod does not exist, or that it cannot connect to the Pod."""

    confirms_address = False


class FrontProxyError(ErrorResponseError):
    """A proxy, single sign-on or ingress in front of the API server responded in its place."""


class RegistryError(ErrorResponseError):
    """The registry returned an error response, or violates the specification.

    Args:
        codes: The error codes of its response (OCI distribution specification, "Error Codes").
    """

    def __init__(
        self,
        message: str,
        advice: str | None = None,
        status: int = 0,
        codes: tuple[str, ...] = (),
        retry: Retry | None = None,
        after: float = 0.0,
    ) -> None:
        super().__init__(message, advice, status, retry, after)
        self.codes = codes

    @property
    def is_unreadable(self) -> bool:
        """Whether it is distribution's error response for content that is stored incompletely or damaged."""
        return self.status == _UNREADABLE


class StorageFullError(RegistryError):
    """The storage of the registry is full."""


class MissingContentError(RegistryError):
    """The registry rejected a manifest, because it does not have a blob or a manifest to which it refers."""


class LostTagsError(RegistryError):
    """With a tag, the registry deleted other tags of the same image."""


class MissingCatalogError(RegistryError):
    """The registry does not list its repositories."""


class WrongPathError(RegistryError):
    """The registry does not serve below the path at this port."""

    confirms_address = False


class EngineError(K8scrError):
    """Docker's or Podman's engine does not run, returned an error response or violates its API."""


class ConnectionLostError(ClusterError):
    """An open connection was interrupted or timed out; the request may have been carried out or not."""

    retry = Retry()


class UnreadableResponseError(ClusterError):
    """A response is not valid HTTP."""


class OversizedResponseError(UnreadableResponseError):
    """A response is larger than the limit for its content."""


class UnreachableError(ClusterError):
    """No connection was opened, so no request was sent: a retry is always safe."""

    retry = Retry()
