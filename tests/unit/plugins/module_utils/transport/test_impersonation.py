# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""User impersonation, as the API server receives it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import kubernetes
import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import ClusterError
from unit.plugins.module_utils.transport.servers import Request, Server

if TYPE_CHECKING:
    from pathlib import Path

    from unit.plugins.module_utils.transport.conftest import Ask, Connect, Kubeconfig

USER = {
    "token": "t",
    "as": "bob",
    "as-groups": ["devs", "ops"],
    "as-uid": "1-2",
    "as-user-extra": {"scopes": ["view", "edit"], "example.com/Team%": ["a"]},
}


def impersonated(request: Request) -> list[tuple[str, str]]:
    """Return the impersonation headers of a request."""
    return sorted((name, value) for name, value in request.headers.items() if name.startswith("Impersonate"))


ALL = [
    ("Impersonate-Extra-example.com%2FTeam%25", "a"),
    ("Impersonate-Extra-scopes", "edit"),
    ("Impersonate-Extra-scopes", "view"),
    ("Impersonate-Group", "devs"),
    ("Impersonate-Group", "ops"),
    ("Impersonate-Uid", "1-2"),
    ("Impersonate-User", "bob"),
]


def test_options_impersonate_user_and_groups(ask: Ask, api_server: Server, options: dict[str, Any]) -> None:
    ask({**options, "impersonate_user": "bob", "impersonate_groups": ["devs", "ops"]})

    headers = api_server.requests[0].headers
    assert (headers["Impersonate-User"], headers.get_all("Impersonate-Group")) == ("bob", ["devs", "ops"])


def test_user_of_kubeconfig_impersonates(ask: Ask, api_server: Server, kubeconfig: Kubeconfig) -> None:
    ask({"kubeconfig": kubeconfig(USER)})

    assert impersonated(api_server.requests[0]) == ALL


def test_user_of_kubeconfig_impersonates_with_credential_plugin(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, home: Path
) -> None:
    status = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}
    tool = home / "login-tool"
    tool.write_text(f"#!/bin/sh\necho '{json.dumps(status)}'\n")
    tool.chmod(0o700)
    login = {"apiVersion": status["apiVersion"], "command": str(tool), "interactiveMode": "Never"}

    ask({"kubeconfig": kubeconfig({"exec": login, **{name: value for name, value in USER.items() if name != "token"}})})

    assert impersonated(api_server.requests[0]) == ALL


def test_official_client_impersonates_as_user_of_kubeconfig(
    cluster_of: Connect, api_server: Server, kubeconfig: Kubeconfig
) -> None:
    cluster = cluster_of({"kubeconfig": kubeconfig(USER)})

    kubernetes.client.LogsApi(cluster.api_client()).log_file_list_handler()

    assert impersonated(api_server.requests[0]) == ALL


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"impersonate_user": "eve"}, [("Impersonate-Group", "devs"), ("Impersonate-User", "eve")]),
        ({"impersonate_groups": ["qa"]}, [("Impersonate-Group", "qa"), ("Impersonate-User", "bob")]),
        ({"api_key": "other"}, [("Impersonate-Group", "devs"), ("Impersonate-User", "bob")]),
    ],
    ids=["user", "groups", "token"],
)
def test_option_replaces_only_its_field_of_kubeconfig(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, given: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    ask({"kubeconfig": kubeconfig({"token": "t", "as": "bob", "as-groups": ["devs"]}), **given})

    assert impersonated(api_server.requests[0]) == expected


def test_options_cannot_impersonate_groups_without_user(ask: Ask, options: dict[str, Any]) -> None:
    with pytest.raises(ClusterError, match="to impersonate are set without a user"):
        ask({**options, "impersonate_groups": ["devs"]})


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"as-groups": ["devs"]}, "to impersonate are set without a user"),
        ({"as-uid": "1"}, "to impersonate are set without a user"),
        ({"as": "bob\nX: y"}, "Impersonate-User contains a line break"),
        ({"as": ["bob"]}, "as or as-uid in the kubeconfig is not a string"),
        ({"as": "bob", "as-groups": "devs"}, "as-groups in the kubeconfig is not a list"),
        ({"as": "bob", "as-user-extra": ["a"]}, "as-user-extra in the kubeconfig is not a dictionary of lists"),
        ({"as": "bob", "as-user-extra": {"a": "b"}}, "as-user-extra in the kubeconfig is not a dictionary of lists"),
    ],
)
def test_kubeconfig_with_invalid_impersonation_is_rejected(
    ask: Ask, api_server: Server, kubeconfig: Kubeconfig, user: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClusterError, match=message):
        ask({"kubeconfig": kubeconfig({"token": "t", **user})})

    assert api_server.requests == []
