# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of configuration files that keep the entries of administrators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
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
    remove_block,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror
from hypothesis import event, given, settings
from hypothesis import strategies as st

URL = "http://10.0.0.1:5001"
FOLDER = "/etc/containerd/certs.d"
MIRROR = Mirror("http", "10.0.0.1:5001", qualify=False, fallback=True)
ALONE = Mirror("http", "10.0.0.1:5001", qualify=False, fallback=False)
CRI = "io.containerd.grpc.v1.cri"


@dataclass(frozen=True)
class Kind:
    """A kind of configuration file.

    Attributes:
        add: Adds the managed block.
        format: The format.
        unmanaged: Returns a parsed file without the managed entries.
        fragments: The alternatives for each part of a file.
    """

    add: Callable[[str], str]
    format: FileFormat
    unmanaged: Callable[[dict[str, Any]], object]
    fragments: tuple[tuple[str, ...], ...]


def _pruned(parsed: Any) -> Any:
    if not isinstance(parsed, dict):
        return parsed
    kept = {key: _pruned(value) for key, value in parsed.items()}
    return {key: value for key, value in kept.items() if value not in ({}, None)}


def _other_hosts(parsed: dict[str, Any]) -> object:
    parsed.get("host", {}).pop(URL, None)
    return _pruned(parsed)


def _other_hosts_alone(parsed: dict[str, Any]) -> object:
    return _other_hosts({key: value for key, value in parsed.items() if key not in ("server", "capabilities", "ca")})


def _other_settings(parsed: dict[str, Any]) -> object:
    parsed.get("plugins", {}).get(CRI, {}).get("registry", {}).pop("config_path", None)
    return _pruned(parsed)


def _other_mirrors(parsed: dict[str, Any] | None) -> object:
    parsed = parsed or {}
    for entry in (parsed.get("mirrors") or {}).values():
        entry["endpoint"] = [endpoint for endpoint in entry.get("endpoint", ()) if endpoint != URL] or None
    return _pruned(parsed)


ANY_TEXTS = st.lists(st.sampled_from([*"ab=[]{}:\"'#.\n\r\x0b\x0c\x85\u2028\u2029", "\r\n"])).map("".join)
UNICODE_COMMENT = "# Petra\u2028asks\u2029before\x85noon\n"
HOSTS = (
    ("", UNICODE_COMMENT, "\n"),
    ("", 'server = "https://registry-1.docker.io"\n', "'server' = '''\nhttps://a#b'''\n"),
    ("", 'capabilities = [\n  "pull", # [\n  "resolve",\n]\n'),
    ("", '# Frankfurt.\n[host."https://a"]\n', '[host."https://a".header]\n  authorization = "Basic \u2028=\x85"\n'),
    ("", "[host]\n  \"https://b\" = { capabilities = ['pull'] }\n", "[ host . 'https://b' ] # b\n"),
    ("", UNICODE_COMMENT, "# The end."),
)
CONFIG = (
    ("version = 2\n", "'version' = 2 # two\n"),
    ("", UNICODE_COMMENT, '[grpc]\n  address = "/run/\u2028"\n'),
    (
        "",
        f'[plugins."{CRI}"]\n  sandbox_image = "a"\n',
        f'[plugins."{CRI}"]\n  registry.config_path = ""\n',
        f'[plugins."{CRI}"]\n  registry . "config_path" = "" # none\n  sandbox_image = "a"\n',
        f"[plugins.'{CRI}']\n  registry.max = 1\n",
        f"[plugins]\n  \"{CRI}\".registry.config_path = ''\n",
        f'[plugins]\n  "{CRI}".sandbox_image = "a"\n',
        f'["plugins" . "{CRI}" . registry]\n',
        f'[plugins."{CRI}".registry]\n  config_path = ""\n  max = 1\n',
        f'[plugins."{CRI}".registry.headers]\n  a = [ "b",\n "[c]" ]\n',
    ),
    ("", '[stream_processors]\n[[a]]\nb = """\n[c] = #\n"""\n', "[cgroup]\n  path = ''"),
)
DOCKER = "docker.io: {endpoint: [https://a]}"
YAML = (
    ("", "# The office's.\n", "---\n"),
    ("", "configs:\n  a:\n    auth: {password: 'x\u2028y'}\n", '"configs": {\n}\n'),
    (
        "",
        f"mirrors:\n  {DOCKER}  # a\n  quay.io: {{}}\n",
        "'mirrors':\n  \"docker.io\":\n    endpoint:\n    - https://a\n\n",
        f"mirrors: {{\n  {DOCKER}\n}}\n",
        "mirrors:\n",
    ),
    ("", "# The end.", "other: |\n  text\n  mirrors\n"),
)
FLOW = (
    ("", "---\n", "# Rancher's.\n"),
    ("{", "{\n", '{"configs": {"a": {"auth": {"password": "b"}}},', "{ configs: {}, "),
    (f"mirrors: {{{DOCKER}}}", '"mirrors":{"docker.io": {"endpoint":\n["https://a"]}}\n', "'other': 1", "\tmirrors: "),
    ("}", "\n}\n", "} # the end", "}\n...\n"),
)
KINDS = {
    "hosts.toml": Kind(
        lambda text: hosts_toml.add_mirror(text, "docker.io", MIRROR), toml_parser.TOML, _other_hosts, HOSTS
    ),
    "hosts.toml without fallback": Kind(
        lambda text: hosts_toml.add_mirror(text, "docker.io", ALONE), toml_parser.TOML, _other_hosts_alone, HOSTS
    ),
    "config.toml": Kind(
        lambda text: config_toml.set_config_path(text, FOLDER, ""),
        FileFormat(toml_parser.parse, config_toml.managed_keys),
        _other_settings,
        CONFIG,
    ),
    "registries.yaml": Kind(
        lambda text: registries_yaml.add_mirrors(text, ["docker.io", "ghcr.io"], MIRROR),
        registries_yaml.YAML,
        _other_mirrors,
        YAML,
    ),
    "registries.yaml in flow style": Kind(
        lambda text: registries_yaml.add_mirrors(text, ["docker.io", "ghcr.io"], MIRROR),
        registries_yaml.YAML,
        _other_mirrors,
        FLOW,
    ),
}


@st.composite
def _texts(draw: st.DrawFn, kind: Kind) -> str:
    """Draw a valid file with line breaks of one or both kinds, and with or without one at the end."""
    text = "".join(draw(st.sampled_from(fragments)) for fragments in kind.fragments)
    breaks = draw(st.sampled_from([("\n",), ("\r\n",), ("\n", "\r\n")]))
    lines = text.split("\n")
    text = "".join(f"{line}{draw(st.sampled_from(breaks))}" for line in lines[:-1]) + lines[-1]
    return text.rstrip("\r\n") if draw(st.booleans()) else text


@pytest.mark.parametrize("name", KINDS)
def test_checked_edit_changes_only_managed_entries_of_every_kind_of_file(name: str) -> None:
    kind = KINDS[name]
    parse = kind.format.parse

    @settings(max_examples=60, deadline=None)
    @given(_texts(kind))
    def check(text: str) -> None:
        after = checked_edit("file", text, kind.add(text), kind.format)
        assert kind.unmanaged(parse(after)) == kind.unmanaged(parse(text) or {})
        assert checked_removal("file", after, kind.format) == (text or None)

    check()


@pytest.mark.parametrize("name", KINDS)
def test_remove_block_restores_every_byte_of_every_kind_of_file(name: str) -> None:
    kind = KINDS[name]

    @settings(max_examples=60, deadline=None)
    @given(_texts(kind) | ANY_TEXTS)
    def check(text: str) -> None:
        try:
            once = kind.add(text)
        except InputError as error:
            event(f"rejected: {error.message[:40]}")
            return
        assert remove_block(once) == text
        assert kind.add(once) == once

    check()


HOSTS_TOML = 'server = "https://a"\n[host."https://b".header]\n  authorization = "Basic secret"\n'


def test_checked_edit_rejects_change_of_other_entries_without_their_values_in_message() -> None:
    after = hosts_toml.add_mirror(HOSTS_TOML, "docker.io", MIRROR)
    with pytest.raises(InputError, match=r"^hosts is not changed: .*host\.https://b\.header\.authorization") as caught:
        checked_edit("hosts", HOSTS_TOML, after.replace("Basic secret", "Basic other"), toml_parser.TOML)
    assert "Basic" not in str(caught.value)


def test_checked_edit_rejects_invalid_result() -> None:
    with pytest.raises(InputError, match="hosts is not changed: it would no longer be valid: not valid TOML"):
        checked_edit("hosts", HOSTS_TOML, f"{HOSTS_TOML}server = \n", toml_parser.TOML)


def test_checked_edit_rejects_invalid_file() -> None:
    text = "server = \n"
    with pytest.raises(InputError, match="hosts is not changed: it is not valid: not valid TOML"):
        checked_edit("hosts", text, hosts_toml.add_mirror(text, "docker.io", MIRROR), toml_parser.TOML)


def test_checked_removal_accepts_invalid_file() -> None:
    text = f'version = 2\n[plugins."{CRI}".registry]\n'
    duplicate = config_toml.set_config_path(text, FOLDER, "") + f'[plugins."{CRI}".registry]\n'
    kind = FileFormat(toml_parser.parse, config_toml.managed_keys)
    assert checked_removal("config", duplicate, kind) == f'{text}[plugins."{CRI}".registry]\n'


def test_checked_removal_rejects_removal_that_moves_following_entries_to_another_table() -> None:
    before = hosts_toml.add_mirror("", "docker.io", MIRROR) + "  skip_verify = true\n"
    with pytest.raises(InputError, match=r"host\.http://10\.0\.0\.1:5001\.skip_verify"):
        checked_removal("hosts", before, toml_parser.TOML)


def test_checked_removal_keeps_entry_that_would_join_comment_before_block_of_earlier_version() -> None:
    earlier = hosts_toml.add_mirror("# mine", "docker.io", MIRROR).replace(BEGIN_LAST, BEGIN_WITHIN)

    with pytest.raises(InputError, match=r"hosts is not changed: .*skip_verify"):
        checked_removal("hosts", f"{earlier}skip_verify = true\n", toml_parser.TOML)


def test_checked_removal_removes_block_of_earlier_version_after_comment() -> None:
    earlier = hosts_toml.add_mirror("# mine", "docker.io", MIRROR).replace(BEGIN_LAST, BEGIN_WITHIN)

    assert checked_removal("hosts", earlier, toml_parser.TOML) == "# mine"


@pytest.fixture
def without_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without a TOML parser."""
    monkeypatch.setattr(toml_parser, "_LOADS", None)


@pytest.mark.usefixtures("without_parser")
def test_checked_edit_names_missing_tomli_for_file_with_entries_of_administrators() -> None:
    after = hosts_toml.add_mirror(HOSTS_TOML, "docker.io", MIRROR)
    with pytest.raises(InputError, match=r"tomli is missing for .*Install tomli on the node"):
        checked_edit("hosts", HOSTS_TOML, after, toml_parser.TOML)


@pytest.mark.usefixtures("without_parser")
@pytest.mark.parametrize("text", ["", "# A comment.\n"])
def test_checked_edit_needs_no_parser_without_entries_of_administrators(text: str) -> None:
    once = checked_edit("hosts", text, hosts_toml.add_mirror(text, "docker.io", MIRROR), toml_parser.TOML)
    again = hosts_toml.add_mirror(once, "docker.io", ALONE)
    assert checked_edit("hosts", once, again, toml_parser.TOML) == again
    assert checked_removal("hosts", again, toml_parser.TOML) == (text or None)
