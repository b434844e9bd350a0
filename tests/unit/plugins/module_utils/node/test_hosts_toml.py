# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
import tomllib
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.hosts_toml import folder_of, with_mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.managed_block import own_part, taken_back
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import ALL, Mirror

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


def test_an_empty_file_gets_the_mirror_alone() -> None:
    assert tomllib.loads(with_mirror("", "docker.io", MIRROR)) == {"host": {URL: {"capabilities": ["pull", "resolve"]}}}


@pytest.mark.parametrize("mirror", MIRRORS)
@pytest.mark.parametrize("text", FILES)
def test_what_was_there_is_back_to_the_byte_once_the_mirror_is_taken_back(text: str, mirror: Mirror) -> None:
    assert taken_back(with_mirror(text, "docker.io", mirror)) == text


@pytest.mark.parametrize("mirror", MIRRORS)
@pytest.mark.parametrize("text", FILES)
def test_doing_it_twice_is_doing_it_once(text: str, mirror: Mirror) -> None:
    once = with_mirror(text, "docker.io", mirror)
    assert with_mirror(once, "docker.io", mirror) == once


@pytest.mark.parametrize("mirror", MIRRORS)
@pytest.mark.parametrize("text", FILES)
def test_the_mirror_is_asked_before_other_hosts_which_stay(text: str, mirror: Mirror) -> None:
    before, after = tomllib.loads(text).get("host", {}), tomllib.loads(with_mirror(text, "docker.io", mirror))["host"]
    first, *others = after
    assert first.startswith(URL)
    assert {host: after[host] for host in others} == before


def test_a_private_authority_is_trusted_for_the_mirror() -> None:
    private = Mirror("https", "mirror.example.com:5000", qualify=False, fallback=False, ca_cert="/etc/ssl/ca.pem")
    after = tomllib.loads(with_mirror(ADMINISTRATORS, "docker.io", private))
    assert after["server"] == private.url
    assert after["ca"] == "/etc/ssl/ca.pem"
    assert after["host"][private.url]["ca"] == "/etc/ssl/ca.pem"


def test_settings_of_the_upstream_stay_while_it_is_asked_too() -> None:
    after = tomllib.loads(with_mirror(ADMINISTRATORS, "docker.io", MIRROR))
    assert after["server"] == "https://registry-1.docker.io"
    assert after["ca"] == "not a [table]\n"


@pytest.mark.parametrize("text", FILES)
def test_the_mirror_takes_the_place_of_an_upstream_that_is_shut_off(text: str) -> None:
    after = tomllib.loads(with_mirror(text, "docker.io", ALONE))
    assert after["server"] == URL
    assert after["capabilities"] == ["pull", "resolve"]


def test_a_qualified_image_is_looked_for_below_its_host() -> None:
    after = tomllib.loads(with_mirror("", "registry.example.com:5000", QUALIFIED_ALONE))
    below = f"{URL}/v2/registry.example.com_5000"
    assert after["server"] == below
    assert after["override_path"] is True
    assert after["host"][below]["override_path"] is True


def test_the_mirror_is_not_named_twice_where_administrators_name_it() -> None:
    text = f'[host."{URL}"]\n  capabilities = ["pull", "resolve"]\n'
    assert with_mirror(text, "docker.io", MIRROR) == text


def test_a_comment_stays_with_the_table_below_it() -> None:
    after = with_mirror(ADMINISTRATORS, "docker.io", MIRROR)
    assert '# The one in Frankfurt.\n[host."https://mirror.example.com"]' in after


def test_just_our_lines_are_shown_since_others_may_hold_passwords() -> None:
    shown = own_part(with_mirror(ADMINISTRATORS, "docker.io", ALONE))
    assert "secret" not in shown
    assert "Basic" not in shown
    assert URL in shown
    assert 'set aside by k8scr.core: server = "https://registry-1.docker.io"' in shown


def test_all_registries_cannot_be_qualified_at_once() -> None:
    with pytest.raises(InputError, match="has to be named"):
        with_mirror("", ALL, QUALIFIED)


def test_folders_are_those_that_containerd_looks_into(tmp_path: Path) -> None:
    assert folder_of(tmp_path, ALL) == tmp_path / "_default"
    assert folder_of(tmp_path, "docker.io") == tmp_path / "docker.io"
    assert folder_of(tmp_path, "example.com:5000") == tmp_path / "example.com:5000"
    (tmp_path / "example.com_5000_").mkdir()
    assert folder_of(tmp_path, "example.com:5000") == tmp_path / "example.com_5000_"
