# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random files of administrators: an edit changes only the entries of the module, and can be undone.

Each run has the same few hundred files; ``K8SCR_FUZZ_EXAMPLES`` sets the number of random ones.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
import tomllib
import yaml
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node import (
    config_toml,
    hosts_toml,
    registries_yaml,
    toml_parser,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.checked_edit import (
    FileFormat,
    checked_edit,
    checked_removal,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.managed_block import (
    BEGIN_LAST,
    BEGIN_WITHIN,
    DISABLED,
    parse_markers,
    split_lines,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.plugins.module_utils.support.fuzzing import EXAMPLES
from unit.plugins.module_utils.support.toml_files import TomlWriter, config_table, hosts_table, registry_table
from unit.plugins.module_utils.support.yaml_files import HOSTS, YamlWriter, registries

Parsed = dict[str, Any]
CONFIG = FileFormat(toml_parser.parse, config_toml.managed_keys)
RANDOM = st.randoms(use_true_random=True)
thorough = settings(max_examples=EXAMPLES or 150, derandomize=not EXAMPLES, deadline=None)


@dataclass(frozen=True)
class Wish:
    """What a task asks for."""

    mirror: Mirror
    upstreams: list[str]


@dataclass(frozen=True)
class Kind:
    """A kind of configuration file.

    Attributes:
        content: Returns the random content of a file.
        write: Returns a random text with this content.
        format: The format.
        add: Adds the managed block to a text.
        expected: Changes the parsed file as the task asks.
    """

    content: Callable[[Random], Parsed]
    write: Callable[[Random, Parsed], str]
    format: FileFormat
    add: Callable[[str, Wish], str]
    expected: Callable[[Parsed, Wish], None]

    def edit(self, text: str, wish: Wish) -> str:
        """Edit a text as the modules do."""
        return checked_edit("file", text, self.add(text, wish), self.format)

    def remove(self, text: str) -> str:
        """Remove the managed block as the modules do."""
        return checked_removal("file", text, self.format) or ""

    def parse(self, text: str) -> Parsed:
        """Parse a text without the code under test."""
        parsed: Parsed = tomllib.loads(text) if self.format is not registries_yaml.YAML else _load_yaml(text)
        return parsed


def _load_yaml(text: str) -> Parsed:
    return yaml.load(text, yaml.CSafeLoader) or {}


def _expect_hosts(parsed: Parsed, wish: Wish) -> None:
    mirror = wish.mirror
    url = f"{mirror.url}/v2/docker.io" if mirror.qualify else mirror.url
    optional = {"ca": mirror.ca_cert, "dial_timeout": mirror.dial_timeout}
    host: Parsed = {"capabilities": ["pull", "resolve"], **{key: value for key, value in optional.items() if value}}
    if mirror.qualify:
        host["override_path"] = True
    parsed.setdefault("host", {})[url] = host
    if not mirror.fallback:
        for key in ("server", "override_path", "capabilities", "ca", "dial_timeout"):
            parsed.pop(key, None)
        parsed.update(server=url, **host)


def _expect_config(parsed: Parsed, _wish: Wish) -> None:
    table = parsed
    for key in registry_table(parsed["version"]):
        table = table.setdefault(key, {})
    table["config_path"] = "/etc/certs.d"


def _expect_registries(parsed: Parsed, wish: Wish) -> None:
    mirrors = parsed["mirrors"] = parsed.get("mirrors") or {}
    for upstream in wish.upstreams:
        entry = mirrors.get(upstream, mirrors.get("*")) or {}
        endpoints = [each for each in entry.get("endpoint") or [] if each != wish.mirror.url]
        mirrors[upstream] = {**entry, "endpoint": [wish.mirror.url, *endpoints]}


KINDS = {
    "hosts.toml": Kind(
        hosts_table,
        lambda random, table: TomlWriter(random, inline="host" not in table).text(table),
        toml_parser.TOML,
        lambda text, wish: hosts_toml.add_mirror(text, "docker.io", wish.mirror),
        _expect_hosts,
    ),
    "config.toml": Kind(
        config_table,
        lambda random, table: TomlWriter(random, inline="plugins" not in table).text(table),
        CONFIG,
        lambda text, _wish: config_toml.set_config_path(text, "/etc/certs.d", ""),
        _expect_config,
    ),
    "registries.yaml": Kind(
        registries,
        lambda random, mapping: YamlWriter(random).text(mapping),
        registries_yaml.YAML,
        lambda text, wish: registries_yaml.add_mirrors(text, wish.upstreams, wish.mirror),
        _expect_registries,
    ),
}
of_each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


def _wish(random: Random, kind: Kind) -> Wish:
    address = random.choice(["10.0.0.1:5001", "[fd00:10:96::abcd]:5001", "mirror.example.com"])
    qualify = kind.add is KINDS["hosts.toml"].add and random.random() < 0.3
    certificate = "/etc/ca.pem" if kind.add is KINDS["hosts.toml"].add and random.random() < 0.3 else ""
    timeout = random.choice(["", "2s"])
    mirror = Mirror("https" if certificate else "http", address, qualify, random.random() < 0.5, certificate, timeout)
    return Wish(mirror, random.sample(HOSTS, random.randrange(1, 4)))


@of_each_kind
def test_edit_of_random_file_adds_only_entries_of_task_and_is_reversible(kind: Kind) -> None:
    @thorough
    @given(RANDOM)
    def check(random: Random) -> None:
        content, wish = kind.content(random), _wish(random, kind)
        text = kind.write(random, content)
        after = kind.edit(text, wish)

        expected = copy.deepcopy(kind.parse(text))
        kind.expected(expected, wish)
        assert kind.parse(after) == expected
        assert kind.edit(after, wish) == after
        assert kind.remove(after) == text

    check()


@of_each_kind
def test_edit_of_random_file_does_not_depend_on_earlier_edits(kind: Kind) -> None:
    @thorough
    @given(RANDOM)
    def check(random: Random) -> None:
        text = kind.write(random, kind.content(random))
        earlier, wish = _wish(random, kind), _wish(random, kind)
        assert kind.edit(kind.edit(text, earlier), wish) == kind.edit(text, wish)

    check()


@pytest.mark.parametrize(("name", "content"), [("hosts.toml", hosts_table), ("config.toml", config_table)])
def test_edit_of_random_file_with_inline_tables_succeeds_or_names_line(
    name: str, content: Callable[[Random], Parsed]
) -> None:
    kind = KINDS[name]

    @thorough
    @given(RANDOM)
    def check(random: Random) -> None:
        text, wish = TomlWriter(random, inline=True).text(content(random)), _wish(random, kind)
        after, message = None, ""
        try:
            after = kind.edit(text, wish)
        except InputError as error:
            message = str(error)
        if after is None:
            assert re.search(r"\bline \d+", message)
            return
        expected = kind.parse(text)
        kind.expected(expected, wish)
        assert kind.parse(after) == expected

    check()


def _line_numbers_outside_block(text: str) -> list[int]:
    """Return where a line can be added that is not part of a line or a value of the file without the block."""
    lines, block = split_lines(text), parse_markers(text).block
    within, last = (lines[block.start].startswith(begin) for begin in (BEGIN_WITHIN, BEGIN_LAST))
    before, after = block.start - (within or last), block.stop + within
    numbers = [number for number in range(len(lines) + 1) if number <= before or number >= after]
    return [
        number for number in numbers if not all(each.startswith(DISABLED) for each in lines[number - 1 : number + 1])
    ]


@of_each_kind
def test_removal_from_random_file_keeps_lines_that_administrator_adds_later(kind: Kind) -> None:
    @thorough
    @given(RANDOM)
    def check(random: Random) -> None:
        text, wish = kind.write(random, kind.content(random)), _wish(random, kind)
        after = kind.edit(text, wish)
        lines = split_lines(after)
        number = random.choice(_line_numbers_outside_block(after))
        edited = "".join([*lines[:number], "# Added later.\n", *lines[number:]])
        try:
            if kind.parse(edited) != kind.parse(after):
                return  # The line is in a string.
        except (yaml.YAMLError, ValueError):
            return
        removed = kind.remove(edited)

        assert kind.parse(removed) == kind.parse(text)
        assert removed.replace("# Added later.\n", "", 1) in (text, f"{text}\n", f"{text}\r\n")
        assert kind.remove(kind.edit(edited, wish)) == removed

    check()
