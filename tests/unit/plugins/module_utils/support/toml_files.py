# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random TOML files: any form of keys, tables and strings that an administrator or a program may write."""

from __future__ import annotations

import re
from random import Random
from typing import Any

from .random_text import LayoutWriter, odd_text

Table = dict[str, Any]
_CRI_1 = "io.containerd.grpc.v1.cri"
_CRI_2 = "io.containerd.cri.v1.images"
_URLS = ["https://a.example.com", "http://10.0.0.2:5001", "http://[fd00:10:96::1]:5001", "https://b/v2/c"]
_KEYS = ["a", "b-c", "d.e", "", "\xfc", 'f"g', "h'i", "1", "[x]"]


class TomlWriter(LayoutWriter):
    """Writes tables as the text of a file.

    Args:
        inline: Whether tables may be inline tables, which cannot be extended.
    """

    def __init__(self, random: Random, inline: bool) -> None:
        super().__init__(random)
        self._inline = ["inline"] if inline else []

    def text(self, table: Table) -> str:
        """Return the text of a file with the entries of a table."""
        lines, sections = self._body(table, (), ())
        self.random.shuffle(sections)
        return self.with_line_breaks("".join([*lines, *sections, self.gap()]))

    def _body(self, table: Table, header: tuple[str, ...], dotted: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """Return the lines of a table and the sections of the tables in it.

        Args:
            header: The keys in the header of the section.
            dotted: The keys from the header to the table.
        """
        lines: list[str] = []
        sections: list[str] = []
        for key, value in self.random.sample(list(table.items()), len(table)):
            path = (*dotted, key)
            if isinstance(value, dict):
                form = self.random.choice(self._forms(value, dotted))
                if form == "section":
                    sections += self._sections(value, (*header, *path))
                elif form == "dotted":
                    below, more = self._body(value, header, path)
                    lines += below
                    sections += more
                else:
                    lines.append(self._entry(path, value))
            elif isinstance(value, list) and value and isinstance(value[0], dict) and not dotted:
                sections.append("".join(self._item(item, (*header, key)) for item in value))
            else:
                lines.append(self._entry(path, value))
        return lines, sections

    def _forms(self, table: Table, dotted: tuple[str, ...]) -> list[str]:
        forms = [*(["dotted"] if table else []), *self._inline]
        return forms if dotted and forms else [*forms, "section", "section"]

    def _sections(self, table: Table, path: tuple[str, ...]) -> list[str]:
        lines, sections = self._body(table, path, ())
        if lines or not sections or self.random.random() < 0.5:
            sections.append("".join([self._header(path, 1), *lines]))
        return sections

    def _item(self, table: Table, path: tuple[str, ...]) -> str:
        lines, sections = self._body(table, path, ())
        return "".join([self._header(path, 2), *lines, *sections])

    def _header(self, path: tuple[str, ...], brackets: int) -> str:
        return f"{self.gap()}{self._indent()}{'[' * brackets}{self._path(path)}{']' * brackets}{self.line_end()}"

    def _entry(self, path: tuple[str, ...], value: Any) -> str:
        equals = self.random.choice(["=", " = ", "\t= "])
        return f"{self.gap()}{self._indent()}{self._path(path)}{equals}{self._value(value)}{self.line_end()}"

    def _indent(self) -> str:
        return self.random.choice(["", "", "  ", "\t"])

    def _path(self, path: tuple[str, ...]) -> str:
        space = self.random.choice(["", "", " "])
        return space + f"{space}.{space}".join(map(self._key, path)) + space

    def _key(self, key: str) -> str:
        forms = [_basic(key), *([] if "'" in key else [f"'{key}'"])]
        return self.random.choice([*forms, *([key] * 3 if re.fullmatch("[A-Za-z0-9_-]+", key) else [])])

    def _value(self, value: Any, one_line: bool = False) -> str:
        if isinstance(value, str):
            return _basic(value) if one_line else self._string(value)
        if isinstance(value, dict):
            return "{" + ", ".join(f"{self._key(key)} = {self._value(each, True)}" for key, each in value.items()) + "}"
        if isinstance(value, list):
            gaps = [""] if one_line else ["", " ", "\n", f" {self.comment()}\n  "]
            items = "".join(f"{self.random.choice(gaps)}{self._value(each, one_line)}," for each in value)
            return f"[{items}{self.random.choice(gaps)}]"
        return str(value).lower()

    def _string(self, text: str) -> str:
        forms = [_basic(text), '"""\n' + _basic(text)[1:-1].replace("\\n", "\n") + '"""']
        if not text[:1].isspace():
            forms.append(f'"""\\\n  {_basic(text)[1:-1]}"""')
        if "'" not in text:
            forms += [f"'''\n{text}'''", *([] if "\n" in text else [f"'{text}'"])]
        return self.random.choice(forms)


def hosts_table(random: Random) -> Table:
    """Return the content of a ``hosts.toml``."""
    hosts = {url: _host(random) for url in random.sample(_URLS, random.randrange(3))}
    table = {**_host(random), "server": random.choice(_URLS), "host": hosts, "other": random_table(random)}
    return _some(random, table)


def config_table(random: Random) -> Table:
    """Return the content of a containerd configuration without ``config_path``."""
    version = random.choice([2, 2, 3, 4])
    headers = {"User-Agent": ["x", odd_text(random)]}
    registry = {"config_path": "", "headers": headers, "max": 1, "configs": {"a.b": {"auth": {"p": odd_text(random)}}}}
    runtimes = {"runc": {"runtime_type": "io.containerd.runc.v2", "options": {"SystemdCgroup": True}}}
    cri = {"sandbox": "pause:3.9", "containerd": {"runtimes": runtimes}, "registry": _some(random, registry)}
    plugins = {registry_table(version)[1]: _some(random, cri), "io.containerd.internal.v1.opt": random_table(random)}
    table = {"plugins": _some(random, plugins), "root": odd_text(random), "grpc": {"uid": 0}, "imports": ["/a/*.toml"]}
    return {"version": version, **_some(random, {**table, "other": random_table(random)})}


def registries_table(random: Random) -> Table:
    """Return the content of a ``registries.conf``."""
    prefixes = ["docker.io", "quay.io", "docker.io/library", "*.example.com", "registry.example.com:5000", "*.io"]
    entries = [_registry(random, prefix) for prefix in random.sample(prefixes, random.randrange(4))]
    table = {"unqualified-search-registries": ["docker.io"], "aliases": {"a": "docker.io/a"}, "registry": entries}
    return _some(random, table)


def _registry(random: Random, prefix: str) -> Table:
    location: Table = random.choice(
        [{"location": "a.example.com/b"}, {"location": "c.example.com:5000", "insecure": True}]
    )
    mirrors = [{"location": "b.example.com"}, {"location": "c.example.com:5000/d", "insecure": True}]
    settings = {"blocked": False, "mirror-by-digest-only": False, "mirror": random.sample(mirrors, random.randrange(3))}
    entry = {"prefix": prefix, **_some(random, settings)}
    # Only wildcards may have no location.
    return entry if prefix.startswith("*.") and random.random() < 0.5 else {**entry, **location}


def registry_table(version: int) -> tuple[str, str, str]:
    """Return the keys of the table with ``config_path`` in a version of containerd's configuration."""
    return ("plugins", _CRI_1 if version == 2 else _CRI_2, "registry")


def random_table(random: Random, depth: int = 2) -> Table:
    """Return a table with any keys and values."""
    return {key: _random_value(random, depth) for key in random.sample(_KEYS, random.randrange(4))}


def _random_value(random: Random, depth: int) -> Any:
    if depth and random.random() < 0.4:
        table = random_table(random, depth - 1)
        return random.choice([table, [table, {}]])
    values = [odd_text(random, True), odd_text(random), 7, -1.5, True, [], [[1], ["[", "]"], [odd_text(random)]]]
    return random.choice(values)


def _host(random: Random) -> Table:
    client = [["/a.pem", "/a.key"], ["/b.pem", ""]]
    host = {
        "capabilities": ["pull", "push"],
        "ca": "/ca.pem",
        "client": client,
        "skip_verify": True,
        "dial_timeout": "9s",
    }
    return _some(random, {**host, "header": {"x-custom": "va[l]ue", "authorization": ["Basic secret"]}})


def _some(random: Random, table: Table) -> Table:
    return {key: value for key, value in table.items() if random.random() < 0.6}


def _basic(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
    return '"' + "".join(escapes.get(character, character) for character in text) + '"'
