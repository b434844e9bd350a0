# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``config_path`` in the text of containerd's configuration."""

from __future__ import annotations

import pytest
import tomllib
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_toml import (
    configured_folders,
    configured_sandbox,
    configured_snapshotter,
    parse_dump,
    set_config_path,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.managed_block import remove_block

FOLDER = "/etc/containerd/certs.d"
CRI_1 = "io.containerd.grpc.v1.cri"
CRI_2 = "io.containerd.cri.v1.images"


@pytest.mark.parametrize(("version", "plugin"), [(2, CRI_1), (3, CRI_2), (4, CRI_2)])
@pytest.mark.parametrize(
    "rest", ["", '[plugins."{0}".registry]\n', "[plugins.'{0}'.registry]\n  config_path = ''\n  max = 1\n[cgroup]\n"]
)
def test_set_config_path_uses_table_of_version_and_is_reversible(version: int, plugin: str, rest: str) -> None:
    text = f"version = {version}\n{rest.format(plugin)}"
    after = set_config_path(text, FOLDER, "")
    assert tomllib.loads(after)["plugins"][plugin]["registry"]["config_path"] == FOLDER
    assert configured_folders(after) == [FOLDER]
    assert set_config_path(after, FOLDER, "") == after
    assert remove_block(after) == text


def test_set_config_path_creates_missing_file_with_version_of_dump() -> None:
    after = tomllib.loads(set_config_path("", FOLDER, "version = 3\nroot = '/var/lib/containerd'\n"))
    assert after == {"version": 3, "plugins": {CRI_2: {"registry": {"config_path": FOLDER}}}}


FORMS = {
    "dotted": 'registry.config_path = ""',
    "dotted-literal": "'registry'.\"config_path\" = ''  # none",
    "dotted-other-key": "registry.max = 1",
    "dotted-deeper-key": 'registry.headers.a = ["b"]',
}


@pytest.mark.parametrize(("version", "plugin"), [(2, CRI_1), (3, CRI_2), (4, CRI_2)])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("header", "prefix"), [("[plugins.'{0}']", ""), ("[plugins]", '"{0}".'), ("", "plugins.'{0}'.")]
)
def test_set_config_path_defines_no_table_twice_with_dotted_keys(
    version: int, plugin: str, form: str, header: str, prefix: str
) -> None:
    text = f"version = {version}\n{header.format(plugin)}\n  {prefix.format(plugin)}{FORMS[form]}"
    after = set_config_path(text, FOLDER, "")
    assert tomllib.loads(after)["plugins"][plugin]["registry"]["config_path"] == FOLDER
    assert set_config_path(after, FOLDER, "") == after
    assert remove_block(after) == text


@pytest.mark.parametrize("line", ["registry = {}", "registry = { config_path = '' } # none"])
def test_set_config_path_names_line_of_inline_table(line: str) -> None:
    with pytest.raises(InputError, match="registry as an inline table, in line 4"):
        set_config_path(f"version = 2\n\n[plugins.'{CRI_1}']\n{line}\n", FOLDER, "")


@pytest.mark.parametrize("line_break", ["\x85", "\u2028", "\u2029"])
def test_set_config_path_keeps_comment_with_unicode_line_break_in_one_line(line_break: str) -> None:
    text = f'version = 2\n# Ask Petra{line_break}before\n[grpc]\n  address = "a{line_break}b" # c{line_break}d\n'
    after = set_config_path(text, FOLDER, "")
    assert tomllib.loads(after)["grpc"] == {"address": f"a{line_break}b"}
    assert remove_block(after) == text


def test_parse_dump_sorts_imports() -> None:
    assert parse_dump('imports = ["/b.toml", "/a.toml"]\n') == parse_dump('imports = ["/a.toml", "/b.toml"]\n')


def test_parse_dump_returns_each_setting_in_its_table() -> None:
    dump = "version = 3\n[a]\n  b = [\n    'c'\n  ]\n  [a.'d.e']\n    f.g = ''\n"
    table = {"b": "b = [\n    'c'\n  ]", "d.e": {"f": {"g": "f.g = ''"}}}
    assert parse_dump(dump) == {"version": "version = 3", "a": table}


def test_set_config_path_rejects_version_1() -> None:
    with pytest.raises(InputError, match="containerd config migrate"):
        set_config_path('root = "/srv/containerd"\n', FOLDER, "version = 3\n")


def test_configured_folders_returns_folders_of_config_path() -> None:
    dump = f"[plugins.'{CRI_2}']\n  [plugins.'{CRI_2}'.registry]\n    config_path = '/a:/b'\n"
    assert configured_folders(dump) == ["/a", "/b"]


def test_configured_folders_is_empty_without_config_path() -> None:
    assert (
        configured_folders(f"[plugins.'{CRI_1}'.registry]\n config_path = ''\n[plugins.'{CRI_1}'.registry.mirrors]")
        == []
    )


@pytest.mark.parametrize("below", ['mirrors."docker.io"', 'configs."example.com".tls'])
def test_configured_folders_rejects_mirrors_in_configuration_like_containerd(below: str) -> None:
    dump = f'[plugins."{CRI_1}".registry]\n config_path = ""\n[plugins."{CRI_1}".registry.{below}]\n endpoint = []\n'
    with pytest.raises(InputError, match="excludes config_path"):
        configured_folders(dump)


@pytest.mark.parametrize("table", [f"plugins.'{CRI_1}'.containerd", f"plugins.'{CRI_2}'"])
def test_configured_snapshotter_returns_snapshotter_of_kubernetes(table: str) -> None:
    dump = f"version = 3\n[plugins.'io.containerd.other']\nsnapshotter = 'zfs'\n[{table}]\nsnapshotter = 'native'\n"
    assert configured_snapshotter(dump) == "native"


def test_configured_snapshotter_is_empty_without_kubernetes() -> None:
    assert configured_snapshotter("version = 3\n") == ""


@pytest.mark.parametrize(
    ("table", "key"), [(f"plugins.'{CRI_1}'", "sandbox_image"), (f"plugins.'{CRI_2}'.pinned_images", "sandbox")]
)
def test_configured_sandbox_returns_sandbox_image_of_kubernetes(table: str, key: str) -> None:
    dump = f"version = 3\n[plugins.other]\n{key} = 'other'\n[{table}]\n{key} = 'registry.k8s.io/pause:3.10'\n"
    assert configured_sandbox(dump) == "registry.k8s.io/pause:3.10"


def test_configured_sandbox_is_empty_without_kubernetes() -> None:
    assert configured_sandbox("version = 3\n") == ""
