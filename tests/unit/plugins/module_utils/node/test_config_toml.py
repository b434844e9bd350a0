# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
import tomllib
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_toml import (
    configured_folders,
    meaning_of,
    snapshotter,
    with_folder,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.managed_block import taken_back

FOLDER = "/etc/containerd/certs.d"
CRI_1 = "io.containerd.grpc.v1.cri"
CRI_2 = "io.containerd.cri.v1.images"


@pytest.mark.parametrize(("version", "plugin"), [(2, CRI_1), (3, CRI_2), (4, CRI_2)])
@pytest.mark.parametrize(
    "rest", ["", '[plugins."{0}".registry]\n', "[plugins.'{0}'.registry]\n  config_path = ''\n  max = 1\n[cgroup]\n"]
)
def test_the_folder_is_set_in_the_table_of_the_version_and_can_be_taken_back(
    version: int, plugin: str, rest: str
) -> None:
    text = f"version = {version}\n{rest.format(plugin)}"
    after = with_folder(text, FOLDER, "")
    assert tomllib.loads(after)["plugins"][plugin]["registry"]["config_path"] == FOLDER
    assert configured_folders(after) == [FOLDER]
    assert with_folder(after, FOLDER, "") == after
    assert taken_back(after) == text


def test_a_missing_file_is_made_with_the_version_that_containerd_writes() -> None:
    after = tomllib.loads(with_folder("", FOLDER, "version = 3\nroot = '/var/lib/containerd'\n"))
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
def test_with_folder_defines_no_table_twice_with_dotted_keys(
    version: int, plugin: str, form: str, header: str, prefix: str
) -> None:
    text = f"version = {version}\n{header.format(plugin)}\n  {prefix.format(plugin)}{FORMS[form]}"
    after = with_folder(text, FOLDER, "")
    assert tomllib.loads(after)["plugins"][plugin]["registry"]["config_path"] == FOLDER
    assert with_folder(after, FOLDER, "") == after
    assert taken_back(after) == text


@pytest.mark.parametrize("line", ["registry = {}", "registry = { config_path = '' } # none"])
def test_with_folder_names_line_of_inline_table(line: str) -> None:
    with pytest.raises(InputError, match="registry as an inline table, in line 4"):
        with_folder(f"version = 2\n\n[plugins.'{CRI_1}']\n{line}\n", FOLDER, "")


@pytest.mark.parametrize("odd", ["\x85", "\u2028", "\u2029"])
def test_with_folder_keeps_comment_with_unicode_line_break_in_one_line(odd: str) -> None:
    text = f'version = 2\n# Ask Petra{odd}before\n[grpc]\n  address = "a{odd}b" # c{odd}d\n'
    after = with_folder(text, FOLDER, "")
    assert tomllib.loads(after)["grpc"] == {"address": f"a{odd}b"}
    assert taken_back(after) == text


def test_meaning_of_dump_has_each_setting_under_its_table() -> None:
    dump = "version = 3\n[a]\n  b = [\n    'c'\n  ]\n  [a.'d.e']\n    f.g = ''\n"
    table = {"b": "b = [\n    'c'\n  ]", "d.e": {"f": {"g": "f.g = ''"}}}
    assert meaning_of(dump) == {"version": "version = 3", "a": table}


def test_a_file_of_version_1_is_refused() -> None:
    with pytest.raises(InputError, match="containerd config migrate"):
        with_folder('root = "/srv/containerd"\n', FOLDER, "version = 3\n")


def test_the_folders_that_containerd_looks_into_already_are_found() -> None:
    dump = f"[plugins.'{CRI_2}']\n  [plugins.'{CRI_2}'.registry]\n    config_path = '/a:/b'\n"
    assert configured_folders(dump) == ["/a", "/b"]


def test_no_folder_is_found_where_none_is_set() -> None:
    assert (
        configured_folders(f"[plugins.'{CRI_1}'.registry]\n config_path = ''\n[plugins.'{CRI_1}'.registry.mirrors]")
        == []
    )


@pytest.mark.parametrize("below", ['mirrors."docker.io"', 'configs."example.com".tls'])
def test_mirrors_in_the_configuration_itself_are_refused_as_containerd_does(below: str) -> None:
    dump = f'[plugins."{CRI_1}".registry]\n config_path = ""\n[plugins."{CRI_1}".registry.{below}]\n endpoint = []\n'
    with pytest.raises(InputError, match="excludes config_path"):
        configured_folders(dump)


@pytest.mark.parametrize("table", [f"plugins.'{CRI_1}'.containerd", f"plugins.'{CRI_2}'"])
def test_the_snapshotter_is_that_of_kubernetes_images(table: str) -> None:
    dump = f"version = 3\n[plugins.'io.containerd.other']\nsnapshotter = 'zfs'\n[{table}]\nsnapshotter = 'native'\n"
    assert snapshotter(dump) == "native"


def test_a_configuration_without_kubernetes_names_no_snapshotter() -> None:
    assert snapshotter("version = 3\n") == ""
