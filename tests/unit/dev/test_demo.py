# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook of the demo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from dev.demo import PLAYBOOK


def _pods(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the Pods in a playbook."""
    if isinstance(value, list):
        for part in value:
            yield from _pods(part)
    elif isinstance(value, dict):
        if value.get("kind") == "Pod":
            yield value
        for part in value.values():
            yield from _pods(part)


def test_demo_pod_does_not_block_other_pods_on_its_node() -> None:
    (pod,) = _pods(yaml.safe_load(PLAYBOOK.read_text()))

    # The scheduler applies required anti-affinity rules of running Pods to new Pods too.
    assert "requiredDuringSchedulingIgnoredDuringExecution" not in pod["spec"]["affinity"]["podAntiAffinity"]
    assert "hostPort" not in str(pod)
