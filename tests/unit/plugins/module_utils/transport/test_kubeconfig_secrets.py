# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The secrets of a kubeconfig, and those that Ansible masks in results."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.kubeconfig_secrets import (
    is_content,
    masked_secrets_of,
    redacted_kubeconfig,
    secrets_of,
)


def kubeconfig(**user: Any) -> dict[str, Any]:
    """Return a kubeconfig with one user."""
    return {"users": [{"name": "me", "user": user}]}


def test_secrets_are_private_values_of_users() -> None:
    login = {"command": "login", "args": ["--token", "a-token"], "env": [{"name": "KEY", "value": "a-value"}]}
    provider = {"name": "oidc", "config": {"refresh-token": "a-refresh-token"}}

    found = secrets_of([kubeconfig(password=12345678), kubeconfig(exec=login, **{"auth-provider": provider})])

    assert found == {"12345678", "--token", "a-token", "a-value", "a-refresh-token"}


def test_arguments_of_plugin_and_short_secrets_mask_no_words_of_results() -> None:
    login = {"command": "login", "args": ["--cluster-name", "production"], "env": [{"name": "A", "value": "registry"}]}

    assert masked_secrets_of(kubeconfig(exec=login, token="k8s", password="long-enough")) == {"long-enough"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("apiVersion: v1\nkind: Config\n", True),
        ("apiVersion: v1", True),
        ('{"kind": "Config"}', True),
        ("/etc/kubernetes/admin.conf", False),
        ("~/.kube/config:/etc/kubernetes/admin.conf", False),
        ("", False),
    ],
)
def test_content_of_kubeconfig_is_distinguished_from_path(value: str, expected: bool) -> None:
    assert is_content(value) is expected


@pytest.mark.parametrize("value", [kubeconfig(), [kubeconfig()], "kind: Config\n", "QUJD" * 100])
def test_content_is_hidden(value: Any) -> None:
    assert redacted_kubeconfig(value) == "********"


def test_paths_are_shown() -> None:
    assert redacted_kubeconfig("/etc/a.conf:/etc/b.conf") == "/etc/a.conf:/etc/b.conf"
