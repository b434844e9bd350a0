# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.k8scr.core.plugins.module_utils.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils.node import registries_yaml
from ansible_collections.k8scr.core.plugins.module_utils.node.mirror import Mirror
from ansible_collections.k8scr.core.plugins.module_utils.node.own_lines import own_part, taken_back
from ansible_collections.k8scr.core.plugins.module_utils.node.registries_yaml import with_mirrors

URL = "http://10.0.0.1:5001"
MIRROR = Mirror("http", "10.0.0.1:5001", qualify=False, fallback=True)
QUALIFIED = Mirror("http", "10.0.0.1:5001", qualify=True, fallback=True)
PRIVATE = Mirror("https", "mirror.example.com", qualify=False, fallback=True, ca_cert="/etc/ssl/ca.pem")
ADMINISTRATORS = """\
# The office's.
mirrors:
  docker.io:  # the usual
    endpoint:
      - https://mirror.example.com
  quay.io: {endpoint: [https://quay.example.com]}

# Passwords.
configs:
  mirror.example.com:
    auth: {username: me, password: secret}
"""
FILES = ("", "configs: {}\n", "mirrors: {\n}\n", "mirrors:\n", ADMINISTRATORS)


def _mirrors(text: str) -> dict[str, Any]:
    mirrors: dict[str, Any] = yaml.safe_load(text)["mirrors"]
    return mirrors


@pytest.mark.parametrize("text", FILES)
def test_doing_it_twice_is_doing_it_once_and_it_can_be_taken_back_to_the_byte(text: str) -> None:
    once = with_mirrors(text, ["docker.io", "*"], MIRROR)
    assert with_mirrors(once, ["docker.io", "*"], MIRROR) == once
    assert taken_back(once) == text


def test_the_mirror_comes_first_and_what_administrators_wrote_stays() -> None:
    after = with_mirrors(ADMINISTRATORS, ["docker.io", "*"], MIRROR)
    assert _mirrors(after) == {
        "docker.io": {"endpoint": [URL, "https://mirror.example.com"]},
        "quay.io": {"endpoint": ["https://quay.example.com"]},
        "*": {"endpoint": [URL]},
    }
    assert yaml.safe_load(after)["configs"] == yaml.safe_load(ADMINISTRATORS)["configs"]


def test_passwords_are_not_shown() -> None:
    assert "secret" not in own_part(with_mirrors(ADMINISTRATORS, ["docker.io"], MIRROR))


def test_a_qualified_image_is_looked_for_below_its_host() -> None:
    after = with_mirrors("", ["example.com:5000"], QUALIFIED)
    assert _mirrors(after)["example.com:5000"]["rewrite"] == {"^(.*)$": "example.com_5000/$1"}


@pytest.mark.parametrize("text", ["", "configs: {}\n"])
def test_a_private_authority_is_trusted_for_the_mirror(text: str) -> None:
    after = with_mirrors(text, ["docker.io"], PRIVATE)
    assert yaml.safe_load(after)["configs"] == {"mirror.example.com": {"tls": {"ca_file": "/etc/ssl/ca.pem"}}}
    assert taken_back(after) == text


def test_configs_of_administrators_say_themselves_whom_to_trust() -> None:
    with pytest.raises(InputError, match=r"configs.*mirror\.example\.com"):
        with_mirrors(ADMINISTRATORS, ["docker.io"], PRIVATE)
    trusting = "configs:\n  mirror.example.com: {auth: {password: secret}, tls: {ca_file: /ca.pem}}\n"
    assert "secret" not in own_part(with_mirrors(trusting, ["docker.io"], PRIVATE))


def test_a_rewrite_that_would_hit_other_endpoints_is_refused() -> None:
    with pytest.raises(InputError, match="for all endpoints"):
        with_mirrors(ADMINISTRATORS, ["docker.io"], QUALIFIED)


def test_what_is_not_yaml_is_refused() -> None:
    with pytest.raises(InputError, match="are not YAML"):
        with_mirrors("mirrors: {\n  a\n", ["docker.io"], MIRROR)


def test_pyyaml_is_asked_for_only_where_there_is_something_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries_yaml, "HAS_YAML", False)
    assert _mirrors(with_mirrors("configs: {}\n", ["docker.io"], MIRROR)) == {"docker.io": {"endpoint": [URL]}}
    with pytest.raises(InputError, match="Install PyYAML"):
        with_mirrors(ADMINISTRATORS, ["docker.io"], MIRROR)
