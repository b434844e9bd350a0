# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules with requests to both the API server and the registry connect to the cluster once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.carry import CARRY_ARGUMENT_SPEC, run_carry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_options import CLUSTER_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.info import INFO_ARGUMENT_SPEC, run_info
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.prune import PRUNE_ARGUMENT_SPEC, run_prune
from unit.plugins.module_utils.support.credential_plugins import credential, plugin
from unit.plugins.module_utils.support.list_server import ListServer
from unit.plugins.module_utils.support.object_server import Fault
from unit.plugins.module_utils.support.settings import module_options
from unit.plugins.module_utils.transport.servers import response_bytes

STATEFUL_SET = "/apis/apps/v1/namespaces/k8scr/statefulsets/k8scr"
Command = Callable[[Mapping[str, Any], bool], dict[str, Any]]


@pytest.fixture
def cluster() -> Iterator[ListServer]:
    """The API server of a cluster with an empty registry."""
    server = ListServer()
    server.objects[STATEFUL_SET] = {"metadata": {"uid": "1"}}
    content = json.dumps({"repositories": []}).encode()
    headers = {"Content-Type": "application/json", "Connection": "close", "K8scr-Collection": "ready"}
    server.faults = [Fault("GET", "/proxy/v2/", response_bytes(200, headers, content), times=9)]
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("run", "argument_spec", "options", "path"),
    [
        (run_info, INFO_ARGUMENT_SPEC, {"usage": True}, "/api/v1/pods?"),
        (run_prune, PRUNE_ARGUMENT_SPEC, {}, "/api/v1/pods?"),
        (run_carry, CARRY_ARGUMENT_SPEC, {"state": "saved"}, STATEFUL_SET),
    ],
    ids=["k8scr_info", "k8scr_prune", "k8scr_carry"],
)
def test_module_runs_credential_plugin_once(
    cluster: ListServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Command,
    argument_spec: dict[str, Any],
    options: dict[str, Any],
    path: str,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    runs = tmp_path / "runs"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "clusters": [{"name": "test", "cluster": {"server": cluster.url}}],
                "users": [
                    {"name": "test", "user": plugin(tmp_path, f"echo run >>{runs}\necho '{credential(token='t')}'")}
                ],
            }
        ),
        encoding="utf-8",
    )
    spec = {**CLUSTER_ARGUMENT_SPEC, **argument_spec}

    run(module_options(spec, kubeconfig=str(kubeconfig), **options), True)

    assert cluster.requests_for("GET", "/proxy/v2/_catalog")
    assert cluster.requests_for("GET", path)
    assert {request.credentials for request in cluster.requests} == {"Bearer t"}
    assert runs.read_text(encoding="utf-8") == "run\n"
