# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read YAML and JSON texts as kubectl reads them: every value has a type of JSON.

kubectl reads YAML with go-yaml 2 (sigs.k8s.io/yaml). It knows the booleans of YAML 1.1, but no dates and no numbers to
the base 60, and integers in the notations of Go, such as ``0o644``. The text may be hostile: nesting, aliases and
numbers are bounded.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..errors import InputError
from .vault import reject_vault

MAXIMUM_DEPTH = 200
"""The levels of nested lists and dictionaries. Functions that copy values recursively need a limit."""
_MAXIMUM_ALIASED = 16 << 20
"""The characters that all aliases of a text may repeat. Texts of a few lines can expand to gigabytes otherwise."""

_MOST_DOCUMENTS = 100_000
"""The documents of a text. An empty one takes four characters, and a hundred times as much memory."""

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]{1,16}|0[bB][01]{1,64}|0[oO]?[0-7]{1,24}|0|[1-9][0-9]{0,19})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LONG_QUOTATION = re.compile(r" '[^'<][^']{3,}'")
_SPACE = re.compile(r"\s*")
_MERGE = "<<"
_TAG_PREFIX = "tag:yaml.org,2002:"
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Document:
    """One document of a text.

    Attributes:
        value: Its value, with types of JSON only.
        line: The number of its first line.
    """

    value: Any
    line: int


def read_documents(content: str | bytes, name: str) -> list[Document]:
    """Return the documents of a YAML text, or the values of a JSON text.

    Args:
        content: The text; bytes are UTF-8, or UTF-16 with a byte order mark.
        name: The file or option in messages.

    Raises:
        InputError: The text is neither YAML nor JSON, has a value that JSON cannot represent, or exceeds a limit. The
            message does not show values.
    """
    text = _decoded(content, name)
    if text.lstrip().startswith("{"):
        try:
            return _bounded(_json_documents(text, name), name)
        except (ValueError, RecursionError):
            pass  # YAML may begin with a brace too.
    # Like go-yaml, ignore byte order marks of files that were joined.
    return _bounded(_yaml_documents(text.replace("\n\ufeff", "\n"), name), name)


def _bounded(documents: Iterator[Document], name: str) -> list[Document]:
    read = list(islice(documents, _MOST_DOCUMENTS + 1))
    if len(read) > _MOST_DOCUMENTS:
        raise InputError(f"{name} has more than {_MOST_DOCUMENTS} documents", "Split it into several files")
    return read


def json_value(value: Any, name: str, depth: int = 0) -> Any:
    """Return a value with types of JSON only: a copy with text as keys, dates as text and the numbers of kubectl.

    Raises:
        InputError: JSON cannot represent the value, or it is nested too deeply.
    """
    if depth > MAXIMUM_DEPTH:
        raise _too_deep(name)
    if isinstance(value, Mapping):
        return {_key(key, name): json_value(item, name, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item, name, depth + 1) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return _scalar(value, name)


def _scalar(value: Any, name: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        # Ansible marks texts with subclasses of str.
        return str(_encodable(value, name))
    if isinstance(value, (int, float)):
        return _number(value, name)
    raise InputError(f"{name} has a value of the type {type(value).__name__}, which JSON does not support", "Quote it")


def _number(number: float, name: str) -> int | float:
    """Return a number as kubectl sends it: as a 64-bit integer if it has no fraction."""
    if isinstance(number, int) and -(1 << 63) <= number < 1 << 63:
        return number
    try:
        rounded = float(number)
    except OverflowError:
        rounded = math.inf
    if not math.isfinite(rounded):
        raise InputError(f"{name} has an infinite number or NaN, which JSON does not support", "Quote it")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e21 else rounded


def _key(key: Any, name: str) -> str:
    """Return the key of a dictionary as text, except for long numbers, which kubectl rounds or rejects."""
    if isinstance(key, bool):
        return str(key).lower()
    if isinstance(key, float) and math.isfinite(key) and float(f"{key:g}") == key:
        return f"{key:g}"
    if isinstance(key, int) and -(1 << 63) <= key < 1 << 63:
        return str(key)
    if not isinstance(key, str):
        raise InputError(f"{name} has a key that is neither text nor a short number", "Quote the key")
    return str(_encodable(key, name))


def _encodable(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name} has text with half of a surrogate pair, which is not valid Unicode") from None
    return text


def _too_deep(name: str) -> InputError:
    return InputError(f"{name} has more than {MAXIMUM_DEPTH} nested lists and dictionaries")


def _decoded(content: str | bytes, name: str) -> str:
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise InputError(f"{name} is not text", "Save it in UTF-8") from None


def _json_documents(text: str, name: str) -> Iterator[Document]:
    """Yield the values of a JSON text, which may follow each other without a separator."""
    decoder = json.JSONDecoder(parse_constant=_reject_constant)
    position, line, counted = 0, 1, 0
    while True:
        space = _SPACE.match(text, position)
        start = space.end() if space else position
        if start == len(text):
            return
        line, counted = line + text.count("\n", counted, start), start
        value, position = decoder.raw_decode(text, start)
        yield Document(json_value(value, name), line)


def _reject_constant(constant: str) -> None:
    raise ValueError(constant)


def _yaml_documents(text: str, name: str) -> Iterator[Document]:
    try:
        import yaml
    except ImportError:
        raise InputError(
            f"{name} cannot be read: the Python library PyYAML is not installed for the interpreter that runs this "
            "module",
            "Install PyYAML, or use JSON",
        ) from None
    # Like go-yaml, libyaml accepts tabs between tokens; it is also much faster than the parser in Python.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(name)
    try:
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.DocumentStartEvent):
                builder = _Builder(name)
            elif isinstance(event, yaml.AliasEvent):
                builder.add_alias(event)
            elif isinstance(event, yaml.ScalarEvent):
                builder.add_scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                builder.begin(event, {} if isinstance(event, yaml.MappingStartEvent) else [])
            elif isinstance(event, yaml.CollectionEndEvent):
                builder.end()
            elif isinstance(event, yaml.DocumentEndEvent):
                yield Document(builder.value, builder.first_line)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        # Long quotations are parts of values, which may be secrets.
        problem = _LONG_QUOTATION.sub("", str(getattr(error, "problem", None) or ""))
        raise InputError(f"{name} is not YAML{line}{': ' if problem else ''}{problem}") from None
    except UnicodeEncodeError:
        raise InputError(f"{name} has text with half of a surrogate pair, which is not valid Unicode") from None


@dataclass
class _Open:
    """A list or dictionary whose end was not read yet.

    Attributes:
        key: The key of the next value of a dictionary; None before the key.
        size: The characters in it, with those that aliases repeat.
    """

    value: Any
    anchor: str | None
    line: int
    size: int = 2
    key: str | None = None
    merges: bool = False


@dataclass
class _Builder:
    """Builds the value of one document from the events of the parser, without recursion."""

    name: str
    value: Any = None
    first_line: int = 0
    _open: list[_Open] = field(default_factory=list)
    _anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    _aliased: int = 0

    def add_scalar(self, event: Any) -> None:
        line = self._line(event)
        tag = event.tag.replace(_TAG_PREFIX, "", 1) if event.tag else ""
        parent = self._open[-1] if self._open else None
        is_key = parent is not None and isinstance(parent.value, dict) and parent.key is None
        if parent is not None and is_key and event.value == _MERGE and (event.implicit[0] or tag == "merge"):
            parent.key, parent.merges = _MERGE, True
            return
        where = f"{self.name}, line {line},"
        value = _resolve(tag, event.value, where) if tag or event.implicit[0] else event.value
        self._add(value if is_key else _scalar(value, where), event.anchor, len(event.value) + 1, line)

    def add_alias(self, event: Any) -> None:
        line = self._line(event)
        if event.anchor not in self._anchors:
            raise InputError(f"{self.name} is not YAML (line {line}): it has an alias without an anchor before it")
        value, size = self._anchors[event.anchor]
        self._aliased += size
        if self._aliased > _MAXIMUM_ALIASED:
            raise InputError(f"{self.name} has aliases that repeat more than {_MAXIMUM_ALIASED >> 20} MiB of text")
        self._add(value, None, size, line)

    def begin(self, event: Any, value: Any) -> None:
        if len(self._open) >= MAXIMUM_DEPTH:
            raise _too_deep(self.name)
        self._open.append(_Open(value, event.anchor, self._line(event)))

    def end(self) -> None:
        closed = self._open.pop()
        self._add(closed.value, closed.anchor, closed.size, closed.line)

    def _add(self, value: Any, anchor: str | None, size: int, line: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)
        if not self._open:
            self.value = value
            return
        parent = self._open[-1]
        parent.size += size
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif parent.key is None:
            parent.key = _key(value, f"{self.name}, line {line},")
        elif parent.merges:
            self._merge(parent.value, value, line)
            parent.key, parent.merges = None, False
        else:
            parent.value[parent.key] = value
            parent.key = None

    def _merge(self, target: dict[str, Any], value: Any, line: int) -> None:
        """Add the entries of the dictionaries that ``<<`` names; the first dictionary of a list has precedence."""
        for part in reversed(value if isinstance(value, list) else [value]):
            if not isinstance(part, dict):
                raise InputError(f"{self.name} merges a value that is not a dictionary (line {line})")
            target.update(part)

    def _line(self, event: Any) -> int:
        line: int = event.start_mark.line + 1
        self.first_line = self.first_line or line
        return line


def _resolve(tag: str, text: str, where: str) -> Any:
    """Return the value of a scalar that has a tag, or is plain."""
    if tag == "!vault":
        reject_vault(text.encode(), where.rstrip(","))
    if tag == "binary":
        try:
            return b64decode("".join(text.split()), validate=True).decode()
        except ValueError:
            raise InputError(
                f"{where} has a !!binary value that is not text in base64", "Remove the tag to keep the base64 text"
            ) from None
    if tag not in ("", "bool", "int", "float", "null"):
        return text
    value = _plain(text, where)
    kind = {bool: "bool", int: "int", float: "float", type(None): "null"}.get(type(value), "str")
    if tag not in ("", kind) and (tag, kind) != ("float", "int"):
        raise InputError(f"{where} has a value that is not of its type !!{tag}")
    return value


def _plain(text: str, where: str) -> Any:
    """Return the value of a plain scalar, as go-yaml 2 resolves it."""
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise InputError(f"{where} has the number {text}, which JSON does not support", "Quote it")
    if text[0] not in "+-.0123456789":
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    if _INTEGER.fullmatch(digits):
        number = _integer(digits)
        if -(1 << 63) <= number < 1 << 63 or (digits[0].isdigit() and number < 1 << 64):
            return number
    if _FLOAT.fullmatch(digits):
        fraction = float(digits)
        return fraction if math.isfinite(fraction) else text
    return text


def _integer(digits: str) -> int:
    octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
    return int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0)
