# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The protection of a registry's images before its Pod is replaced."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("kind", "message"),
    [("StatefulSet", "/missing/kubeconfig"), ("Pod", "as long as its Pod, and this change replaces the Pod")],
)
def test_role_shows_why_planned_change_fails_except_for_immutable_pod(
    run_plays: Callable[..., subprocess.CompletedProcess[str]], kind: str, message: str
) -> None:
    role = {"name": "k8scr.core.registry", "tasks_from": "keep_images"}
    play = {
        "tasks": [{"ansible.builtin.include_role": role}],
        "module_defaults": {"group/k8scr.core.k8scr": {"kubeconfig": "/missing/kubeconfig"}},
    }
    storage = {"name": "storage", "emptyDir": {}}
    workload = {"kind": kind, "spec": {"template": {"spec": {"volumes": [storage]}}}}

    done = run_plays(play, registry_kind=kind, registry_existing_workload=workload, registry_lookup={"objects": []})

    assert done.returncode != 0
    failures = [line for line in done.stdout.splitlines() if line.startswith("fatal: ")]
    assert len(failures) == 1
    assert message in failures[0]
