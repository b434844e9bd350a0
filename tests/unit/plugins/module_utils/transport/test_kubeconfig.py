# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kubeconfigs as text, and files that a module cannot read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError, InputError

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Ask, Kubeconfig
    from unit.plugins.module_utils.transport.servers import Server

TOKEN = "canary-token-0123456789"


@pytest.mark.parametrize("write", [yaml.safe_dump, json.dumps], ids=["YAML", "JSON"])
def test_text_is_used_as_content_of_kubeconfig(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, write: Callable[[Any], str]
) -> None:
    ask({"kubeconfig": write(kubeconfig({"token": TOKEN}))})

    assert api_server.requests[0].credentials == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"users: [{{token: {TOKEN}\n", "the kubeconfig given as text is not YAML"),
        (f"- token: {TOKEN}\n", "the kubeconfig given as text is not a kubeconfig"),
        (f"token: {TOKEN}", "the kubeconfig given as text sets no current context"),
        ("\n\n", "the kubeconfig given as text is empty"),
        (f"users: [{{token: {TOKEN}}}, {'[' * 500}\n", "the kubeconfig given as text has more than 200 nested"),
        # Some versions of libyaml have a limit of their own.
        (f"users: [{{token: {TOKEN}}}, {'[' * 5000}\n", "more than 200 nested|is not YAML .* maximum nesting depth"),
        (f"a: &a [{TOKEN * 10}]\n" * 2 + f"b: [{', '.join(['*a'] * 200_000)}]\n", "aliases that repeat more than"),
        (TOKEN * 100, r"the kubeconfig \*{8} does not exist"),
    ],
    ids=["damaged", "list", "other", "empty", "nested", "nested deeply", "aliases", "base64"],
)
def test_error_does_not_show_text(ask: Ask, text: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message) as caught:
        ask({"kubeconfig": text})

    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("name", ["2026-11-01", "22:30", "2026-13-45", "2026-11-01T10:20:30Z"])
def test_context_whose_name_resembles_date_or_time_is_chosen(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, name: str
) -> None:
    text = yaml.safe_dump({**kubeconfig({"token": TOKEN}, name=name), "extensions": "DATE"})

    ask({"kubeconfig": text.replace(f"'{name}'", name).replace("DATE", "2026-11-01 10:20:30"), "context": name})

    assert api_server.requests[0].credentials == f"Bearer {TOKEN}"


def test_error_shows_path_that_does_not_exist(ask: Ask) -> None:
    with pytest.raises(ClusterError, match="the kubeconfig /nowhere/config does not exist"):
        ask({"kubeconfig": "/nowhere/config"})


def test_error_about_vaulted_file_advises_lookup(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")

    with pytest.raises(InputError, match=f"{path} is encrypted by Ansible Vault") as caught:
        ask({"kubeconfig": str(path)})

    assert f"kubeconfig: \"{{{{ lookup('ansible.builtin.file', '{path}') }}}}\"" in str(caught.value)


@pytest.mark.parametrize("option", ["ca_cert", "client_cert", "client_key"])
def test_error_names_vaulted_certificate_or_key(ask: Ask, options: dict[str, Any], tmp_path: Path, option: str) -> None:
    path = tmp_path / "file.pem"
    path.write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")

    with pytest.raises(InputError, match=f"{path} is encrypted by Ansible Vault"):
        ask({**options, option: str(path)})


def test_quoted_false_does_not_disable_verification(ask: Ask, kubeconfig: Kubeconfig) -> None:
    untrusted = kubeconfig({"token": "t"}, **{"certificate-authority": None, "insecure-skip-tls-verify": "false"})

    with pytest.raises(ClusterError, match="is not trusted"):
        ask({"kubeconfig": untrusted})
