# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hide the secrets in the options of a module."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

HIDDEN = "********"
SHORTEST = 4
"""Characters of the shortest value that is masked in messages; shorter ones occur in many words and numbers."""

_WORD = re.compile(r"\S+")
# The digest of an image follows an @ too. A password may have characters that a URL must not contain.
_HOST_FOLLOWS = r"@(?!sha(?:256|512):)"
_AT = re.compile(_HOST_FOLLOWS)
_USER_IN_URL = re.compile(r"(?<=//)[^/@:]*:")
_TOKEN_IN_URL = re.compile(rf"(?<=://)(?<!(?i:ssh)://)([^/]+){_HOST_FOLLOWS}")
_PATH_FOLLOWS = r"(?:oci|oci-archive|docker-archive|bundle|chart):"
_CREDENTIALS_BEFORE_HOST = re.compile(rf"(?!{_PATH_FOLLOWS})[^/@:]*:(?!//)(.+){_HOST_FOLLOWS}[^/@]*[.:/]", re.DOTALL)
# A relative path may look the same, but an image has none without its transport, ./ or ~ before it.
_TOKEN_BEFORE_HOST = re.compile(rf"(?![~.])([^/@:]+){_HOST_FOLLOWS}[^/@]+/")


def redacted(
    options: Mapping[str, Any], spec: Mapping[str, Any], redact: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Any]:
    """Return the printable options of a module.

    Args:
        options: The options of the task, which may be invalid.
        spec: The argument spec of the module.
        redact: For each structured option with secrets, a function that returns the printable value.
    """
    names = {alias: name for name, option in spec.items() for alias in (name, *option.get("aliases", ()))}
    return {key: _redacted_value(value, names.get(key), spec, redact) for key, value in options.items()}


def without_passwords(value: Any) -> Any:
    """Return a value without the credentials in URLs. Some services take a token as the user."""
    if isinstance(value, str):
        return _WORD.sub(lambda word: _masked(word[0]), value)
    if isinstance(value, Mapping):
        return {key: without_passwords(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_passwords(item) for item in value]
    return value


def passwords_in(value: Any, of_images: bool = False) -> Iterator[str]:
    """Yield the passwords and tokens in names and locations of images, as in ``user:password@host/repository``.

    Args:
        of_images: Whether no text is a relative path, so that ``token@host/repository`` has a token.
    """
    for text in texts_of(value):
        tokens, password, _host = _split_url(text)
        found = [match[1] for match in _TOKEN_IN_URL.finditer(tokens)]
        found += [] if password is None else [password]
        name = None if found else _CREDENTIALS_BEFORE_HOST.match(text)
        if of_images and not found and not name:
            name = _TOKEN_BEFORE_HOST.match(text)
        yield from filter(None, [name[1]] if name else found)


def _masked(url: str) -> str:
    tokens, password, host = _split_url(url)
    shown = _TOKEN_IN_URL.sub(f"{HIDDEN}@", tokens)
    return shown if password is None else f"{shown}{HIDDEN}@{host}"


def _split_url(text: str) -> tuple[str, str | None, str]:
    """Return the text before a user with a password, the password, and the text from the host on.

    Its time is linear in the length: a hostile text may repeat the beginning of a URL.

    Returns:
        The whole text, ``None`` and an empty text if there is no password.
    """
    ends = [match.start() for match in _AT.finditer(text)]
    user = _USER_IN_URL.search(text, 0, ends[-1]) if ends else None
    if user is None:
        return text, None, ""
    return text[: user.start()], text[user.end() : ends[-1]], text[ends[-1] + 1 :]


def texts_of(value: Any) -> Iterator[str]:
    """Yield the texts and numbers in a value, and each line of a text, as they may occur in a message."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple, set)):
        for item in value:
            yield from texts_of(item)
    elif value is not None and not isinstance(value, bool):
        text = str(value)
        yield from {text, *(line.strip() for line in text.splitlines())} - {""}


def _redacted_value(
    value: Any, name: str | None, spec: Mapping[str, Any], redact: Mapping[str, Callable[[Any], Any]]
) -> Any:
    if value is None or (name is not None and value == spec[name].get("default")):
        return value
    if name is None or spec[name].get("no_log"):
        return HIDDEN
    if name in redact:
        return redact[name](value)
    inner = spec[name].get("options")
    if not inner:
        return without_passwords(value)
    if isinstance(value, Mapping):
        return redacted(value, inner, {})
    if isinstance(value, list):
        return [_redacted_value(item, name, spec, redact) for item in value]
    secret = any(option.get("no_log") for option in inner.values())
    return HIDDEN if secret else without_passwords(value)


def hidden_values(value: Any, printable: Any) -> Iterator[str]:
    """Yield the texts of a value that are missing in its printable value."""
    if isinstance(value, Mapping) and isinstance(printable, Mapping):
        for key, item in value.items():
            yield from hidden_values(item, printable.get(key))
    elif isinstance(value, (list, tuple)) and isinstance(printable, list) and len(value) == len(printable):
        for item, other in zip(value, printable):
            yield from hidden_values(item, other)
    elif value != printable:
        yield from texts_of(value)
