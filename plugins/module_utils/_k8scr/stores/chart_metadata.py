# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The metadata of a Helm chart in the form that ``helm push`` stores: the config and the annotations of its manifest.

Helm reads ``Chart.yaml`` into typed fields, cleans most texts, and writes the fields as JSON in a fixed order. The same
chart must get the same digest here, so this module does the same. Fields that Helm does not know are dropped.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ..errors import InputError

_VERSION = re.compile(r"v?[0-9]+(\.[0-9]+){0,2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_SPACES = frozenset([*map(chr, range(0x2000, 0x200B)), *" \t\n\v\f\r\u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000"])
"""The characters that Go's ``unicode.IsSpace`` accepts."""
_TYPES = ("", "application", "library")
_TITLE = "org.opencontainers.image.title"
_VERSION_ANNOTATION = "org.opencontainers.image.version"
_PLAIN_EXPONENTS = range(-4, 6)

_Reader = Callable[[Any, str], Any]


class ChartMetadata:
    """The fields of a chart.

    Args:
        chart: The value of ``Chart.yaml``.
        requirements: The value of ``requirements.yaml``, which charts for Helm 2 have.

    Raises:
        InputError: Helm would reject the chart.
    """

    def __init__(self, chart: Any, requirements: Any = None) -> None:
        fields = _read_fields(chart, _CHART, "Chart.yaml")
        fields.update(_read_fields(requirements, _CHART, "requirements.yaml"))
        self._fields: dict[str, Any] = {"apiVersion": "v1", **fields}
        self.name: str = fields.get("name", "")
        self.version: str = fields.get("version", "")
        if not self.name or self.name in {".", ".."} or "/" in self.name:
            raise InputError(f"Chart.yaml has the name {self.name!r:.100}, which is not valid")
        if not _VERSION.fullmatch(self.version):
            raise InputError(f"Chart.yaml has the version {self.version!r:.100}, which is not a semantic version")
        if fields.get("type", "") not in _TYPES:
            raise InputError("Chart.yaml has a type other than application and library")

    @property
    def config(self) -> bytes:
        """The content of the config."""
        return go_json(_ordered(self._fields, _CHART))

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations of the manifest, without the time at which the archive was written."""
        fields = self._fields
        known = {
            "org.opencontainers.image.description": fields.get("description", ""),
            _TITLE: self.name,
            _VERSION_ANNOTATION: self.version,
            "org.opencontainers.image.url": fields.get("home", ""),
            "org.opencontainers.image.source": next(iter(fields.get("sources", ())), ""),
            "org.opencontainers.image.authors": _authors(fields.get("maintainers", ())),
        }
        own = {
            key: text for key, text in fields.get("annotations", {}).items() if key not in (_TITLE, _VERSION_ANNOTATION)
        }
        return {**{key: text for key, text in known.items() if text.strip()}, **own}


def go_json(value: Any) -> bytes:
    """Return a value as Go's ``encoding/json`` writes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def _authors(maintainers: Sequence[Mapping[str, str]]) -> str:
    emails = [f" ({each['email']})" if each.get("email") else "" for each in maintainers]
    return ", ".join(f"{each.get('name', '')}{email}" for each, email in zip(maintainers, emails))


def _read_fields(value: Any, readers: Mapping[str, _Reader], where: str) -> dict[str, Any]:
    """Return the known fields of an object that are set. Their names match in any case."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{where} is not a dictionary")
    names = {name.lower(): name for name in readers}
    fields: dict[str, Any] = {}
    for key in sorted(value):
        name = names.get(key.lower())
        if name and value[key] is not None:
            fields[name] = readers[name](value[key], f"{name} in {where}")
    return fields


def _ordered(fields: Mapping[str, Any], readers: Iterable[str], required: Iterable[str] = ()) -> dict[str, Any]:
    """Return fields in the order of Helm's, without empty ones."""
    return {name: fields.get(name, "") for name in readers if fields.get(name) or name in required}


def _text(value: Any, where: str) -> str:
    """Return a text as YAML libraries of Go convert scalars to texts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _short_float(value)
    if not isinstance(value, (str, int)):
        raise InputError(f"{where} is not text")
    return str(value)


def _clean(value: Any, where: str) -> str:
    """Return a text on one line, without characters that are not printable."""
    text = "".join(" " if character in _SPACES else character for character in _text(value, where))
    return "".join(character for character in text if character.isprintable())


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{where} is neither true nor false")
    return value


def _texts(value: Any, where: str) -> list[str]:
    return [_clean("" if item is None else item, where) for item in _list(value, where)]


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{where} is not a list")
    return value


def _annotations(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InputError(f"{where} is not a dictionary")
    return {key: "" if value[key] is None else _text(value[key], where) for key in sorted(value)}


def _maintainers(value: Any, where: str) -> list[dict[str, Any]]:
    return [_ordered(_object(item, _MAINTAINER, where), _MAINTAINER) for item in _list(value, where)]


def _dependencies(value: Any, where: str) -> list[dict[str, Any]]:
    required = ("name", "repository")
    return [_ordered(_object(item, _DEPENDENCY, where), _DEPENDENCY, required) for item in _list(value, where)]


def _object(value: Any, readers: Mapping[str, _Reader], where: str) -> dict[str, Any]:
    if value is None:
        raise InputError(f"{where} has an empty entry")
    return _read_fields(value, readers, where)


def _any_list(value: Any, where: str) -> list[Any]:
    return [_sorted(item) for item in _list(value, where)]


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _short_float(number: float) -> str:
    """Return a number with the fewest digits that identify it in 32 bits, as Go's ``FormatFloat(x, 'g', -1, 32)``."""
    try:
        wanted = struct.pack("f", number)
    except OverflowError:
        return repr(number)
    shortened = (Decimal(f"{number:.{count}g}") for count in range(1, 10))
    rounded = next(each for each in shortened if struct.pack("f", each) == wanted)
    if rounded.adjusted() in _PLAIN_EXPONENTS:
        return f"{rounded:f}"
    return f"{number:.{len(rounded.as_tuple().digits) - 1}e}"


_MAINTAINER: Mapping[str, _Reader] = {"name": _clean, "email": _clean, "url": _clean}
_DEPENDENCY: Mapping[str, _Reader] = {
    "name": _clean,
    "version": _clean,
    "repository": _clean,
    "condition": _clean,
    "tags": _texts,
    "enabled": _boolean,
    "import-values": _any_list,
    "alias": _text,
}
_CHART: Mapping[str, _Reader] = {
    "name": _clean,
    "home": _clean,
    "sources": _texts,
    "version": _text,
    "description": _clean,
    "keywords": _texts,
    "maintainers": _maintainers,
    "icon": _clean,
    "apiVersion": _text,
    "condition": _clean,
    "tags": _clean,
    "appVersion": _clean,
    "deprecated": _boolean,
    "annotations": _annotations,
    "kubeVersion": _clean,
    "dependencies": _dependencies,
    "type": _text,
}
"""How Helm reads each field, in the order in which it writes them."""
