# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mirrors in ``hosts.toml``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tomllib
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.hosts_toml import add_mirror, host_folder
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.managed_block import managed_lines, remove_block
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import ALL_REGISTRIES, Mirror

URL = "http://10.0.0.1:5001"
MIRROR = Mirror("http", "10.0.0.1:5001", qualify=False, fallback=True)
QUALIFIED = Mirror("http", "10.0.0.1:5001", qualify=True, fallback=True)
ALONE = Mirror("http", "10.0.0.1:5001", qualify=False, fallback=False)
QUALIFIED_ALONE = Mirror("http", "10.0.0.1:5001", qualify=True, fallback=False)
MIRRORS = (MIRROR, QUALIFIED, ALONE, QUALIFIED_ALONE)

ADMINISTRATORS = """\
# Ours since 2019.
server = "https://registry-1.docker.io" # the upstream
capabilities = [
  "pull", # [
  "resolve",
]
ca = '''
not a [table]
'''

# The one in Frankfurt.
[host."https://mirror.example.com"]
  capabilities = ["pull"]
  ca = "/etc/certs/ca.crt"
[host.'https://mirror.example.com'.header]
  authorization = "Basic c2VjcmV0"
"""
FILES = ("", 'server = "https://registry-1.docker.io"\n', "# nothing\n", '[host."https://a"]\n', ADMINISTRATORS)


def test_add_mirror_adds_only_mirror_to_empty_file() -> None:
    assert tomllib.loads(add_mirror("", "docker.io", MIRROR)) == {"host": {URL: {"capabilities": ["pull", "resolve"]}}}


@pytest.mark.parametrize("mirror", MIRRORS)
@pytest.mark.parametrize("text", FILES)
def test_remove_block_restores_every_byte_of_hosts_toml(text: str, mirror: Mirror) -> None:
    assert remove_block(add_mirror(text, "docker.io", mirror)) == text


@pytest.mark.parametrize("mirror", MIRRORS)
@pytest.mark.parametrize("text", FILES)
def test_add_mirror_is_idempotent(text: str, mirror: Mirror) -> None:
    once = add_mirror(text, "docker.io", mirror)
    assert add_mirror(once, "docker.io", mirror) == once


@pytest.mark.parametrize("mirror", MIRRORS)
@pytest.mark.parametrize("text", FILES)
def test_add_mirror_puts_mirror_before_existing_hosts(text: str, mirror: Mirror) -> None:
    before, after = tomllib.loads(text).get("host", {}), tomllib.loads(add_mirror(text, "docker.io", mirror))["host"]
    first, *others = after
    assert first.startswith(URL)
    assert {host: after[host] for host in others} == before


def test_add_mirror_sets_private_certificate_authority() -> None:
    private = Mirror("https", "mirror.example.com:5000", qualify=False, fallback=False, ca_cert="/etc/ssl/ca.pem")
    after = tomllib.loads(add_mirror(ADMINISTRATORS, "docker.io", private))
    assert after["server"] == private.url
    assert after["ca"] == "/etc/ssl/ca.pem"
    assert after["host"][private.url]["ca"] == "/etc/ssl/ca.pem"


def test_add_mirror_sets_dial_timeout_of_mirror_only() -> None:
    after = tomllib.loads(add_mirror(ADMINISTRATORS, "docker.io", replace(MIRROR, dial_timeout="2s")))
    assert after["host"][URL]["dial_timeout"] == "2s"
    assert "dial_timeout" not in after
    assert "dial_timeout" not in after["host"]["https://mirror.example.com"]


def test_add_mirror_replaces_dial_timeout_of_upstream_without_fallback() -> None:
    text = 'server = "https://quay.io"\ndial_timeout = "9s"\n'
    after = tomllib.loads(add_mirror(text, "quay.io", replace(ALONE, dial_timeout="2s")))
    assert (after["dial_timeout"], after["host"][URL]["dial_timeout"]) == ("2s", "2s")
    assert "dial_timeout" not in tomllib.loads(add_mirror(text, "quay.io", ALONE))


def test_add_mirror_keeps_settings_of_upstream_with_fallback() -> None:
    after = tomllib.loads(add_mirror(ADMINISTRATORS, "docker.io", MIRROR))
    assert after["server"] == "https://registry-1.docker.io"
    assert after["ca"] == "not a [table]\n"


@pytest.mark.parametrize("text", FILES)
def test_add_mirror_replaces_upstream_without_fallback(text: str) -> None:
    after = tomllib.loads(add_mirror(text, "docker.io", ALONE))
    assert after["server"] == URL
    assert after["capabilities"] == ["pull", "resolve"]


def test_add_mirror_adds_host_to_repositories_with_qualify() -> None:
    after = tomllib.loads(add_mirror("", "registry.example.com:5000", QUALIFIED_ALONE))
    below = f"{URL}/v2/registry.example.com_5000"
    assert after["server"] == below
    assert after["override_path"] is True
    assert after["host"][below]["override_path"] is True


def test_add_mirror_adds_no_block_if_administrators_configured_mirror() -> None:
    text = f'[host."{URL}"]\n  capabilities = ["pull", "resolve"]\n'
    assert add_mirror(text, "docker.io", MIRROR) == text


def test_add_mirror_keeps_comment_with_table_below_it() -> None:
    after = add_mirror(ADMINISTRATORS, "docker.io", MIRROR)
    assert '# The one in Frankfurt.\n[host."https://mirror.example.com"]' in after


def test_managed_lines_of_hosts_toml_have_no_passwords() -> None:
    lines = managed_lines(add_mirror(ADMINISTRATORS, "docker.io", ALONE))
    assert "secret" not in lines
    assert "Basic" not in lines
    assert URL in lines
    assert 'set aside by k8scr.core: server = "https://registry-1.docker.io"' in lines


def test_add_mirror_rejects_all_registries_with_qualify() -> None:
    with pytest.raises(InputError, match=r"upstreams cannot be '\*' with qualify"):
        add_mirror("", ALL_REGISTRIES, QUALIFIED)


def test_host_folder_returns_folder_that_containerd_reads(tmp_path: Path) -> None:
    assert host_folder(tmp_path, ALL_REGISTRIES) == tmp_path / "_default"
    assert host_folder(tmp_path, "docker.io") == tmp_path / "docker.io"
    assert host_folder(tmp_path, "example.com:5000") == tmp_path / "example.com:5000"
    (tmp_path / "example.com_5000_").mkdir()
    assert host_folder(tmp_path, "example.com:5000") == tmp_path / "example.com_5000_"


def test_add_mirror_keeps_last_line_of_string_that_looks_like_comment() -> None:
    text = "ca = '''\n/etc/\n# ca.pem'''\n[host.'https://a']\n"
    after = tomllib.loads(add_mirror(text, "docker.io", MIRROR))
    assert after["ca"] == "/etc/\n# ca.pem"
    assert list(after["host"]) == [URL, "https://a"]


@pytest.mark.parametrize(
    "form",
    [
        f"host.'{URL}'.skip_verify = true\n",
        f"[host]\n'{URL}' = {{ skip_verify = true }}\n",
        f"[host]\n'{URL}'.skip_verify = true\n",
        f"[host.'{URL}'.header]\nx = 'y'\n",
        f"[host.'{URL}']\n",
    ],
)
def test_add_mirror_keeps_administrators_entry_for_mirror_in_every_form(form: str) -> None:
    assert add_mirror(form, "docker.io", MIRROR) == form
    after = tomllib.loads(add_mirror(form, "docker.io", ALONE))
    assert after.pop("server") == URL
    assert after["host"] == tomllib.loads(form)["host"]


@pytest.mark.parametrize("table", ["", "a = {}"])
def test_add_mirror_names_line_of_inline_table(table: str) -> None:
    with pytest.raises(InputError, match="host as an inline table, in line 2"):
        add_mirror(f"\nhost = {{{table}}}\n", "docker.io", MIRROR)
