# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A signature as a source has it: what it covers, and the digests that the signed content names."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import SourceError

SHOWN = 300
"""Characters of a text from a signature in messages."""


@dataclass(frozen=True)
class Signature:
    """A signature that nobody has verified.

    Attributes:
        origin: Where the source has it, for messages.
        digests: The digests that the signed content names.
        message: The bytes that the signature covers.
        value: The signature.
        content: The content whose hash the bundle states; ``None`` if it is the image's manifest or index.
        bundle: The Sigstore bundle of a signature with a certificate; ``None`` without a certificate.
    """

    origin: str
    digests: frozenset[str]
    message: bytes = field(repr=False)
    value: bytes = field(repr=False)
    content: bytes | None = field(default=None, repr=False)
    bundle: Mapping[str, Any] | None = field(default=None, repr=False)


class InvalidSignatureError(SourceError):
    """A signature cannot be used; the message is the reason."""


def decode(text: object, what: str) -> bytes:
    """Return the content of a text in base64.

    Raises:
        InvalidSignatureError: The text is not base64.
    """
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) and text else _missing(what)
    except (binascii.Error, ValueError) as error:
        raise InvalidSignatureError(f"its {what} is not base64") from error


def encode(content: bytes) -> str:
    """Return a content in base64."""
    return base64.b64encode(content).decode("ascii")


def _missing(what: str) -> bytes:
    raise InvalidSignatureError(f"it has no {what}")
