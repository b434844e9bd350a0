# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tags that are versions, such as ``v1.2.3``, ``1.25-alpine3.19``, ``2.0.0-rc.1`` and ``20260130``.

There is no standard for versions in tags: semantic versions, calendar versions and build numbers are common, and
suffixes name variants of one version. So only tags of the same form are compared: those with the same words in their
suffix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .decimal import parse_decimal

_VERSION = re.compile(r"[vV]?(?P<release>[0-9]{1,19}(?:\.[0-9]{1,19}){0,7})(?P<suffix>(?:[-_.][^.]|[a-zA-Z]).*)?")
_TOKEN = re.compile(r"[0-9]+|[a-zA-Z]+")
_COMMIT = re.compile(r"(?<=[-_.])g?(?=[0-9a-f]*[0-9])[0-9a-f]{7,64}(?=$|[-_.])")
"""The abbreviated hash of a commit, as ``git describe`` appends it. It has no order."""
_DATE = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[0-9]{4}|[0-9]{6})?|1[0-9]{9}")
"""A date, with or without the time, or a UNIX time."""
_LONGEST_NUMBER = 6
"""Digits of a build number. One in 27 hashes that are abbreviated to seven digits has no letters."""


@dataclass(frozen=True)
class VersionTag:
    """A version. It can be compared with versions of the same form.

    Attributes:
        form: The words of the suffix in lower case, such as ``alpine`` or ``rc``; empty without words.
        order: The numbers of the version, without zeros at the end, and the numbers of the suffix.
        tokens: The words and numbers of the suffix in their order, without the hash of a commit.
        has_commit: Whether the suffix has the hash of a commit.
        parts: How many numbers the tag has before its suffix.
    """

    form: str
    order: tuple[tuple[int, ...], tuple[int, ...]]
    tokens: tuple[str, ...] = field(default=(), compare=False)
    has_commit: bool = field(default=False, compare=False)
    parts: int = field(default=1, compare=False)


def parse_version(tag: str) -> VersionTag | None:
    """Return the version of a tag; ``None`` if its order is unknown, as for ``latest``, ``main-7`` or ``1.2-4bcff63``.

    A suffix of ``git describe``, such as ``-5-g4bcff63``, has an order: the number of commits.
    """
    match = _VERSION.fullmatch(tag)
    if match is None:
        return None
    text, suffix = match["release"], match["suffix"] or ""
    is_dotted = "." in text
    if not is_dotted and (_is_hash(text) or suffix[:1].isalpha()):
        return None
    tokens, has_commit = parse_suffix(suffix)
    words = [token for token in tokens if token.isalpha()]
    numbers = tuple(parse_decimal(token) or 0 for token in tokens if not token.isalpha())
    if has_commit and not numbers and not _DATE.fullmatch(text):
        return None
    release = [parse_decimal(number) or 0 for number in text.split(".")]
    parts = len(release)
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    return VersionTag("-".join(words), (tuple(release), numbers), tokens, has_commit, parts)


def parse_suffix(suffix: str) -> tuple[tuple[str, ...], bool]:
    """Return the words and numbers of a suffix, and whether it has the hash of a commit."""
    commits = [token for token in _COMMIT.findall(suffix) if not _DATE.fullmatch(token)]
    tokens = _TOKEN.findall(_COMMIT.sub(lambda found: found[0] if _DATE.fullmatch(found[0]) else "", suffix))
    # A longer number than the parser accepts is a hash too.
    known = (token.lower() for token in tokens if token.isalpha() or parse_decimal(token) is not None)
    return tuple(known), bool(commits)


def _is_hash(digits: str) -> bool:
    """Return whether a number is rather the abbreviated hash of a commit than a build number or a date."""
    return len(digits) > _LONGEST_NUMBER and not _DATE.fullmatch(digits)
