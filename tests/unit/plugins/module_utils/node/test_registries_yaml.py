# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mirrors in ``registries.yaml``."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node import registries_yaml
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.checked_edit import checked_edit
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.managed_block import managed_lines, remove_block
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.mirror import Mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.registries_yaml import YAML, add_mirrors

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
def test_add_mirrors_is_idempotent_and_reversible(text: str) -> None:
    once = add_mirrors(text, ["docker.io", "*"], MIRROR)
    assert add_mirrors(once, ["docker.io", "*"], MIRROR) == once
    assert remove_block(once) == text


def test_add_mirrors_puts_mirror_before_existing_endpoints() -> None:
    after = add_mirrors(ADMINISTRATORS, ["docker.io", "*"], MIRROR)
    assert _mirrors(after) == {
        "docker.io": {"endpoint": [URL, "https://mirror.example.com"]},
        "quay.io": {"endpoint": ["https://quay.example.com"]},
        "*": {"endpoint": [URL]},
    }
    assert yaml.safe_load(after)["configs"] == yaml.safe_load(ADMINISTRATORS)["configs"]


def test_managed_lines_of_registries_yaml_have_no_passwords() -> None:
    assert "secret" not in managed_lines(add_mirrors(ADMINISTRATORS, ["docker.io"], MIRROR))


def test_add_mirrors_rewrites_repositories_with_qualify() -> None:
    after = add_mirrors("", ["example.com:5000"], QUALIFIED)
    assert _mirrors(after)["example.com:5000"]["rewrite"] == {"^(.*)$": "example.com_5000/$1"}


@pytest.mark.parametrize("text", ["", "configs: {}\n"])
def test_add_mirrors_sets_private_certificate_authority(text: str) -> None:
    after = add_mirrors(text, ["docker.io"], PRIVATE)
    assert yaml.safe_load(after)["configs"] == {"mirror.example.com": {"tls": {"ca_file": "/etc/ssl/ca.pem"}}}
    assert remove_block(after) == text


def test_add_mirrors_requires_ca_file_in_configs_of_administrators() -> None:
    with pytest.raises(InputError, match=r"configs.*mirror\.example\.com"):
        add_mirrors(ADMINISTRATORS, ["docker.io"], PRIVATE)
    trusting = "configs:\n  mirror.example.com: {auth: {password: secret}, tls: {ca_file: /ca.pem}}\n"
    assert "secret" not in managed_lines(add_mirrors(trusting, ["docker.io"], PRIVATE))


def test_add_mirrors_rejects_rewrite_for_other_endpoints() -> None:
    with pytest.raises(InputError, match="applies to all endpoints"):
        add_mirrors(ADMINISTRATORS, ["docker.io"], QUALIFIED)


def test_add_mirrors_rejects_invalid_yaml() -> None:
    with pytest.raises(InputError, match="not valid YAML in line 3"):
        add_mirrors("mirrors: {\n  a\n", ["docker.io"], MIRROR)


@pytest.fixture
def without_pyyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without PyYAML."""
    monkeypatch.setattr(registries_yaml, "HAS_YAML", False)


@pytest.mark.usefixtures("without_pyyaml")
@pytest.mark.parametrize("text", ["", "# The office's.\r\n", "\n"])
def test_add_mirrors_needs_no_pyyaml_without_entries_of_administrators(text: str) -> None:
    after = add_mirrors(text, ["docker.io"], MIRROR)
    assert _mirrors(after) == {"docker.io": {"endpoint": [URL]}}
    assert checked_edit("registries.yaml", text, after, YAML) == after


@pytest.mark.usefixtures("without_pyyaml")
def test_add_mirrors_names_missing_pyyaml_for_file_with_entries_of_administrators() -> None:
    with pytest.raises(InputError, match=r"PyYAML is missing.*Install PyYAML on the node"):
        add_mirrors("configs: {}\n", ["docker.io"], MIRROR)


RANCHER = {
    "mirrors": {"docker.io": {"endpoint": ["https://mirror.example.com"]}},
    "configs": {"mirror.example.com": {"auth": {"username": "puller", "password": "secret"}}},
}
STYLES = {
    "json": json.dumps(RANCHER),
    "json-lines": json.dumps(RANCHER, indent=2) + "\n",
    "json-tabs": json.dumps(RANCHER, indent="\t") + "\n",
    "json-crlf": json.dumps(RANCHER, indent=2).replace("\n", "\r\n") + "\r\n",
    "json-configs-first": json.dumps({key: RANCHER[key] for key in ("configs", "mirrors")}),
    "flow": "{mirrors: {docker.io: {endpoint: [https://mirror.example.com]}}} # by hand\n",
    "flow-without-mirrors": "{configs: {a: {auth: {password: secret}}}}",
    "flow-empty": "{}\n",
    "flow-null": "{mirrors: }\n",
    "single-quotes": "---\n'mirrors':\n  docker.io:\n    endpoint:\n    - https://mirror.example.com\n",
    "document-marks": "---\nmirrors:\n  docker.io:\n    endpoint: [https://mirror.example.com]\n...\n",
    "document-mark-alone": "# Nothing yet.\n---\n",
    "indented": "  mirrors:\n    docker.io:\n      endpoint: [https://mirror.example.com]\n  configs: {a: {}}",
    "other-key-last": "mirrors:\n  docker.io: {}\n\n# Passwords.\nconfigs:\n  a:\n    auth: {password: secret}\n...\n",
    "alias-in-mirrors": "x: &all [https://mirror.example.com]\nmirrors:\n  docker.io: {endpoint: *all}\n",
    "merge-key": "x: &all {endpoint: [https://a]}\nmirrors:\n  docker.io:\n    <<: *all\nconfigs: {}\n",
    "explicit-key": "? mirrors\n: docker.io:\n    endpoint: [https://a]\n",
    "anchors": "configs: &all\n  a: &a {auth: {password: secret}}\n  b: *a\nmirrors:\n",
}


@pytest.mark.parametrize("style", STYLES)
def test_add_mirrors_changes_only_mirrors_in_every_style(style: str) -> None:
    before = yaml.load(STYLES[style], yaml.CSafeLoader) or {}
    after_text = add_mirrors(STYLES[style], ["docker.io", "quay.io"], MIRROR)
    after = yaml.load(after_text, yaml.CSafeLoader)

    existing = ((before.pop("mirrors", None) or {}).get("docker.io") or {}).get("endpoint", [])
    assert after.pop("mirrors") == {"docker.io": {"endpoint": [URL, *existing]}, "quay.io": {"endpoint": [URL]}}
    assert after == before
    assert checked_edit("registries.yaml", STYLES[style], after_text, YAML) == after_text


@pytest.mark.parametrize("style", STYLES)
def test_remove_block_restores_every_byte_in_every_style(style: str) -> None:
    once = add_mirrors(STYLES[style], ["docker.io"], MIRROR)
    assert add_mirrors(once, ["docker.io"], MIRROR) == once
    assert remove_block(once) == STYLES[style]


@pytest.mark.parametrize("style", STYLES)
def test_managed_lines_have_no_passwords_in_any_style(style: str) -> None:
    assert "secret" not in managed_lines(add_mirrors(STYLES[style], ["docker.io"], MIRROR))


@pytest.mark.parametrize("text", ["{}", "{mirrors: {}}", "---\n", "mirrors: {}\n"])
def test_add_mirrors_adds_certificates_in_every_style(text: str) -> None:
    after = add_mirrors(text, ["docker.io"], PRIVATE)
    assert yaml.safe_load(after)["configs"] == {"mirror.example.com": {"tls": {"ca_file": "/etc/ssl/ca.pem"}}}
    assert checked_edit("registries.yaml", text, after, YAML) == after
    assert remove_block(after) == text


def test_add_mirrors_keeps_endpoints_for_all_registries_in_new_entries() -> None:
    text = 'mirrors:\n  "*":\n    endpoint: [https://all.example.com]\n'
    after = _mirrors(add_mirrors(text, ["docker.io"], MIRROR))
    assert after["docker.io"] == {"endpoint": [URL, "https://all.example.com"]}
    assert after["*"] == {"endpoint": ["https://all.example.com"]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mirrors: {}\nmirrors: {}\n", "the key mirrors occurs twice"),
        ("mirrors: {}\n---\nmirrors: {}\n", "not valid YAML"),
        ("- mirrors\n", "not a mapping"),
        ("mirrors: [a]\n", "mirrors are not a mapping"),
        ("mirrors:\n  docker.io: {}  # old\u2028until May\n", "not valid YAML"),
    ],
)
def test_add_mirrors_rejects_file_that_k3s_cannot_read(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        add_mirrors(text, ["docker.io"], MIRROR)


def test_checked_edit_names_line_of_alias_for_disabled_anchor() -> None:
    text = "mirrors:\n  docker.io: &all {endpoint: [https://a]}\nx: *all\n"
    with pytest.raises(InputError, match=r"it would no longer be valid: not valid YAML in line 7.*undefined alias"):
        checked_edit("registries.yaml", text, add_mirrors(text, ["docker.io"], MIRROR), YAML)


def test_add_mirrors_does_not_quote_invalid_file() -> None:
    with pytest.raises(InputError) as caught:
        add_mirrors("configs: {a: {auth: {password: secret}}\n", ["docker.io"], MIRROR)
    assert "secret" not in str(caught.value)


def test_checked_edit_rejects_removal_of_endpoint_of_administrator() -> None:
    after = add_mirrors(ADMINISTRATORS, ["docker.io"], MIRROR)
    damaged = after.replace(', "https://mirror.example.com"', "")
    with pytest.raises(InputError, match=r"would affect mirrors\.docker\.io\.endpoint"):
        checked_edit("registries.yaml", ADMINISTRATORS, damaged, YAML)
    with pytest.raises(InputError, match=r"would affect mirrors\.docker\.io\.endpoint"):
        checked_edit("registries.yaml", after, damaged, YAML)


def test_checked_edit_rejects_entries_in_comment_with_yaml_line_break() -> None:
    text = "# a\x85mirrors: {docker.io: {}}\n"
    with pytest.raises(InputError, match="the key mirrors occurs twice"):
        checked_edit("registries.yaml", text, add_mirrors(text, ["docker.io"], MIRROR), YAML)


def test_checked_edit_rejects_replacement_of_entries_of_administrators_in_block() -> None:
    before = add_mirrors("configs: {}\n", ["docker.io"], MIRROR)
    before = before.replace("# END", '  "ghcr.io": {endpoint: [https://a]}\n# END')
    with pytest.raises(InputError, match=r"would affect mirrors\.ghcr\.io\.endpoint"):
        checked_edit("registries.yaml", before, add_mirrors(before, ["docker.io"], MIRROR), YAML)


def test_checked_edit_rejects_removal_of_block_that_entries_of_administrators_continue() -> None:
    before = add_mirrors("configs: {}\n", ["docker.io"], MIRROR) + "  ghcr.io: {}\n"
    with pytest.raises(InputError, match=r"registries\.yaml is not changed"):
        checked_edit("registries.yaml", before, remove_block(before), YAML)


@pytest.mark.parametrize(
    ("registry", "endpoint"),
    [("docker.io", "https://registry-1.docker.io/v2/"), ("registry.example.com:5000", None), ("registry.k8s.io", None)],
)
def test_add_mirrors_adds_entry_without_mirror_for_excluded_registry(registry: str, endpoint: str | None) -> None:
    after = add_mirrors("", ["*"], MIRROR, [registry])
    # k3s omits an entry with the address that it requests by default.
    assert _mirrors(after)[registry] == {"endpoint": [endpoint or f"https://{registry}/v2/"]}
    assert _mirrors(after)["*"] == {"endpoint": [URL]}
    assert add_mirrors(after, ["*"], MIRROR, [registry]) == after
    assert remove_block(after) == ""


def test_add_mirrors_keeps_administrators_entry_of_excluded_registry() -> None:
    after = add_mirrors(ADMINISTRATORS, ["*"], MIRROR, ["quay.io"])
    assert _mirrors(after)["quay.io"] == {"endpoint": ["https://quay.example.com"]}


def test_add_mirrors_keeps_administrators_default_for_excluded_registry() -> None:
    text = 'mirrors: {"*": {endpoint: [https://cache.example.com]}}\n'
    after = add_mirrors(text, ["*"], MIRROR, ["quay.io"])
    assert _mirrors(after)["quay.io"] == {"endpoint": ["https://cache.example.com"]}
    assert _mirrors(after)["*"] == {"endpoint": [URL, "https://cache.example.com"]}
