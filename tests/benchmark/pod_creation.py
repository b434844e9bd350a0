# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Latency of creating Pods, with and without the policy of the role image_policy."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from cluster import layout
from cluster.errors import log
from cluster.kubectl import kubectl
from cluster.waiting import wait_until

from .registry import NAMESPACE as REGISTRY_NAMESPACE
from .registry import administrator, run_role

NAMESPACE = "k8scr-benchmark-pods"
PODS = 500
POLICY_NAME = "k8scr-benchmark"
ADDRESS = "localhost:30501"
WITHOUT, WITH = "without the policy", "with the policy"
CONDITIONS = (WITHOUT, WITH)
IMAGES = ("busybox:1.36", "docker.io/library/busybox:1.36", "registry.example.com:5000/team/api@sha256:" + 64 * "a")
_PODS_URL = f"{layout.API_URL}/api/v1/namespaces/{NAMESPACE}/pods"


def measure_pod_creation(pods: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Create Pods one after the other, and return the latency of each round by condition.

    Each round measures both conditions, and starts with another one. No node runs the Pods.

    Args:
        pods: The number of Pods of each condition.
        rounds: The number of rounds.
    """
    log("==== Latency of the creation of Pods")
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in CONDITIONS}
    with _namespace(), administrator() as session:
        for number in range(rounds):
            for name in CONDITIONS[:: -1 if number % 2 else 1]:
                with _condition(session, name):
                    figures[name].append(_create(session, pods))
                log(f"  {name}: median {figures[name][-1]['p50']:.2f} ms")
    return figures


@contextmanager
def _namespace() -> Iterator[None]:
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    kubectl("create", "namespace", NAMESPACE)
    try:
        # The API server rejects Pods without it.
        kubectl("wait", "serviceaccount/default", f"--namespace={NAMESPACE}", "--for=create", "--timeout=60s")
        yield
    finally:
        kubectl("delete", "namespace", NAMESPACE)


@contextmanager
def _condition(session: requests.Session, name: str) -> Iterator[None]:
    """Apply the policy if the condition is with it, and remove it at the end of the block."""
    if name == WITHOUT:
        yield
        return
    try:
        _policy("present")
        wait_until(lambda: _is_rewritten(session), "the API server applies the policy")
        yield
    finally:
        _policy("absent")
        wait_until(lambda: not _is_rewritten(session), "the API server no longer applies the policy")


def _policy(state: str) -> None:
    run_role(
        "image_policy",
        image_policy_state=state,
        image_policy_name=POLICY_NAME,
        image_policy_address=ADDRESS,
        image_policy_registry_namespace=REGISTRY_NAMESPACE,
        image_policy_namespaces={"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
    )


def _is_rewritten(session: requests.Session) -> bool:
    created = session.post(_PODS_URL, params={"dryRun": "All"}, json=_pod("probe"), timeout=60)
    created.raise_for_status()
    return str(created.json()["spec"]["containers"][0]["image"]).startswith(ADDRESS)


def _create(session: requests.Session, pods: int) -> dict[str, float]:
    """Create Pods, delete them, and return the latency of their creation in milliseconds."""
    bodies = [json.dumps(_pod(f"pod-{number}")) for number in range(pods)]
    headers = {"Content-Type": "application/json"}
    times = []
    try:
        for body in bodies:
            started = time.monotonic()
            session.post(_PODS_URL, data=body, headers=headers, timeout=60).raise_for_status()
            times.append(1000 * (time.monotonic() - started))
    finally:
        session.delete(_PODS_URL, params={"gracePeriodSeconds": 0}, timeout=60).raise_for_status()
        wait_until(lambda: not session.get(_PODS_URL, timeout=60).json()["items"], "the Pods are deleted")
    cuts = statistics.quantiles(times, n=100)
    return {"mean": statistics.mean(times), "p50": cuts[49], "p99": cuts[98], "count": len(times)}


def _pod(name: str) -> dict[str, Any]:
    """Return a Pod with an init container and two containers that no node can run."""
    init, *containers = ({"name": f"container-{number}", "image": image} for number, image in enumerate(IMAGES))
    spec = {
        "nodeSelector": {"k8scr.core/benchmark": "none"},
        "automountServiceAccountToken": False,
        "initContainers": [init],
        "containers": containers,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
