# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The failures a user meets: each says in one line what failed, who said so and what to do.

Modules catch :class:`K8scrError` once, at their boundary; everything else that escapes is a bug.
"""

from __future__ import annotations

import re

_INTERNAL_ERROR = 500
_MOMENTARY = frozenset((429, _INTERNAL_ERROR, 502, 503, 504))
_TRIES_OF_500 = 3
"""A 500 is a connection that was closed just then (``EOF``), which passes, or a fault that does not."""
_LONGEST_RETRY_AFTER = 60.0


def seconds_of(retry_after: str) -> float:
    """How long a ``Retry-After`` header asks to wait; 0 where it names no number (RFC 9110, section 10.2.3)."""
    return min(float(retry_after), _LONGEST_RETRY_AFTER) if re.fullmatch(r"[0-9]{1,9}", retry_after) else 0.0


class K8scrError(Exception):
    """A failure that is explained to the user instead of being shown as a traceback.

    It is one line, whatever the names in it hold: they come from archives, registries and playbooks.

    Args:
        message: What failed, on what, and why; one sentence without its full stop.
        advice: What the user can do about it; one sentence without its full stop.

    Attributes:
        transient: Whether the same may work when it is tried again.
        tries: How often that is worth it; None for as long as patience lasts.
        retry_after: Seconds that the other side wants to be left alone before.
    """

    transient = False
    tries: int | None = None
    retry_after = 0.0

    def __init__(self, message: str, advice: str | None = None) -> None:
        super().__init__(message)
        self.message = one_line(message)
        self.advice = one_line(advice) if advice else None

    def __str__(self) -> str:
        return f"{self.message}. {self.advice}." if self.advice else self.message


def one_line(text: str) -> str:
    """Return ``text`` with a space in the place of each line break and of whatever else cannot be printed."""
    return "".join(character if character.isprintable() else " " for character in text)


class InputError(K8scrError):
    """What the user wrote cannot mean anything: a reference, a location, an option."""


class SourceError(K8scrError):
    """The place an image is read from lacks it, is damaged or is not what it says."""


class MissingManifestError(SourceError):
    """The place an image is read from lacks one of its manifests, as where not all platforms were saved."""


class DestinationError(K8scrError):
    """The place an image is written to refuses it: disk full, no permission, in use."""


class DigestMismatchError(K8scrError):
    """Content that was read is not the content that its digest names."""


class ClusterError(K8scrError):
    """The way to the API server is not there: configuration, credentials, TLS, network."""


class RefusedError(K8scrError):
    """Somebody answered over HTTP, and refused.

    Args:
        status: The HTTP status code; some are those of a moment's trouble.
    """

    def __init__(self, message: str, advice: str | None = None, status: int = 0) -> None:
        super().__init__(message, advice)
        self.status = status
        self.transient = status in _MOMENTARY
        self.tries = _TRIES_OF_500 if status == _INTERNAL_ERROR else None


class ApiServerError(RefusedError):
    """The API server refused: not found, forbidden, unreachable Pod."""


class RegistryError(RefusedError):
    """The registry refused or misbehaved.

    Args:
        codes: The error codes of its answer (OCI distribution specification, "Error Codes").
    """

    def __init__(self, message: str, advice: str | None = None, status: int = 0, codes: tuple[str, ...] = ()) -> None:
        super().__init__(message, advice, status)
        self.codes = codes


class EngineError(K8scrError):
    """Docker's or Podman's engine is not there, refuses or misbehaves."""


class ConnectionLostError(ClusterError):
    """A connection was there and broke, or fell silent: what it carried may have arrived or not."""

    transient = True


class UnreadableAnswerError(ClusterError):
    """What came back is not HTTP, or not as it should be."""


class UnreachableError(ClusterError):
    """No connection came to be, so nothing was sent: trying again later is always safe."""

    transient = True
