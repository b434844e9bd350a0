# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random ``registries.yaml`` files in block style, flow style or JSON."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

from .random_text import YAML_BREAKS, LayoutWriter, odd_text

HOSTS = ["docker.io", "quay.io", "*", "ghcr.io", "registry.example.com:5000", "[fd00::1]:5000"]
_ENDPOINTS = ["https://a.example.com", "http://10.0.0.1:5001", "http://[fd00:10:96::1]:5001", "https://b/v2/c"]
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in YAML_BREAKS})


def registries(random: Random) -> dict[str, Any]:
    """Return the content of a ``registries.yaml``."""
    mirrors = {host: _mirror(random) for host in random.sample(HOSTS, random.randrange(4))}
    configs = {host: _config(random) for host in random.sample(HOSTS, random.randrange(3))}
    other = [odd_text(random, True), [1, "a"], None, {"a": {"b": ["c"]}}, "a\nmirrors:\n  b: c\n"]
    sections = [("mirrors", random.choice([mirrors, mirrors, None])), ("configs", configs), ("x", random.choice(other))]
    return dict(random.sample(sections, random.randrange(4)))


def _mirror(random: Random) -> dict[str, Any] | None:
    entry = {"endpoint": random.sample(_ENDPOINTS, random.randrange(3)), "override_path": True}
    return random.choice([{"endpoint": entry["endpoint"]}, entry, {}, None])


def _config(random: Random) -> dict[str, Any]:
    return {"auth": {"username": "u", "password": odd_text(random, True)}, "tls": {"insecure_skip_verify": True}}


class YamlWriter(LayoutWriter):
    """Writes a mapping as the text of a file."""

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._anchors = 0

    def text(self, mapping: dict[str, Any]) -> str:
        """Return the text of a file with the entries of a mapping."""
        start = self.random.choice(["", "", "---\n", "--- # start\n", "%YAML 1.1\n---\n"])
        body = self.random.choice([self._json, self._flow_style, self._block_style, self._block_style])(mapping)
        end = self.random.choice(["", "", "...\n"])
        gap = "" if start.startswith("%") else self.gap()
        return self.with_line_breaks(f"{gap}{start}{self.gap()}{body}{self.gap()}{end}")

    def comment(self) -> str:
        """Return a comment without line breaks of YAML."""
        return re.sub(f"[{YAML_BREAKS}]", "", super().comment())

    def _json(self, mapping: dict[str, Any]) -> str:
        return _json(mapping, indent=self.random.choice([None, 2, "\t"])) + "\n"

    def _flow_style(self, mapping: dict[str, Any]) -> str:
        return self._flow(mapping, ["", " ", "\n  "]) + self.line_end()

    def _block_style(self, mapping: dict[str, Any]) -> str:
        return self._block(mapping, self.random.choice([0, 0, 0, 2])) if mapping else "{}\n"

    def _block(self, mapping: dict[str, Any], indent: int) -> str:
        return "".join(self.gap() + self._entry(key, value, indent) for key, value in mapping.items())

    def _entry(self, key: str, value: Any, indent: int) -> str:
        name = " " * indent + self._scalar(key) + self.random.choice(["", "", " "]) + ":"
        if isinstance(value, str) and re.fullmatch(r"[a-z][^\t\x85\u2028\u2029]*[^\n]\n", value):
            lines = value.splitlines(keepends=True)
            return f"{name} |\n" + "".join(" " * (indent + 3) + line for line in lines)
        if not value or not isinstance(value, (dict, list)) or self.random.random() < 0.3:
            return f"{name} {self._flow(value, ['', ' '])}{self.line_end()}"
        if isinstance(value, dict):
            return name + self._anchor() + self.line_end() + self._block(value, indent + self.random.choice([1, 2, 4]))
        dash = " " * (indent + self.random.choice([0, 2])) + "- "
        items = "".join(f"{self.gap()}{dash}{self._flow(each, ['', ' '])}{self.line_end()}" for each in value)
        return f"{name}{self._anchor()}{self.line_end()}{items}"

    def _anchor(self) -> str:
        self._anchors += 1
        return f" &a{self._anchors}" if self.random.random() < 0.1 else ""

    def _flow(self, value: Any, spaces: list[str]) -> str:
        space = self.random.choice(spaces)
        if isinstance(value, dict):
            items = [f"{self._scalar(key)}: {self._flow(each, spaces)}" for key, each in value.items()]
            return "{" + space + f", {space}".join(items) + self.random.choice(["," if items else "", ""]) + space + "}"
        if isinstance(value, list):
            return "[" + space + ", ".join(self._flow(each, spaces) for each in value) + space + "]"
        return self._scalar(value)

    def _scalar(self, value: Any) -> str:
        if not isinstance(value, str):
            return _json(value)
        forms = [_json(value)]
        if not re.search(f"[\n\t{YAML_BREAKS}]", value):
            forms.append("'" + value.replace("'", "''") + "'")
        if re.fullmatch(r"[a-z][a-z0-9./:_-]*[a-z0-9]", value):
            forms += [value] * 3
        return self.random.choice(forms)


def _json(value: Any, indent: int | str | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent).translate(_ESCAPES)
