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

PODS = 500
WITHOUT, WITH = "without the policy", "with the policy"
NAMESPACES = {WITHOUT: "k8scr-benchmark-without", WITH: "k8scr-benchmark-with"}
"""The namespace of the Pods of each condition; the policy selects one of them."""
ADDRESS = "localhost:30501"
POLICY = {
    "image_policy_name": "k8scr-benchmark",
    "image_policy_address": ADDRESS,
    "image_policy_registry_namespace": REGISTRY_NAMESPACE,
    "image_policy_namespaces": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACES[WITH]}},
}
IMAGES = ("busybox:1.36", "docker.io/library/busybox:1.36", "registry.example.com:5000/team/api@sha256:" + 64 * "a")


def measure_pod_creation(pods: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Create Pods one after the other, and return the latency of each round by condition.

    The conditions take turns from Pod to Pod, so that other load on the machine affects both. No node runs the Pods.

    Args:
        pods: The number of Pods of each condition.
        rounds: The number of rounds.
    """
    log("==== Latency of the creation of Pods")
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in NAMESPACES}
    with _namespaces(), _policy(), administrator() as session:
        wait_until(lambda: _is_rewritten(session), "the API server applies the policy")
        for _round in range(rounds):
            for name, latencies in _create(session, pods).items():
                figures[name].append(latencies)
                log(f"  {name}: median {latencies['p50']:.2f} ms")
    return figures


@contextmanager
def _namespaces() -> Iterator[None]:
    """Create the namespaces, and delete them with their Pods at the end of the block."""
    kubectl("delete", "namespace", *NAMESPACES.values(), "--ignore-not-found")
    try:
        for namespace in NAMESPACES.values():
            kubectl("create", "namespace", namespace)
            # The API server rejects Pods without it.
            kubectl("wait", "serviceaccount/default", f"--namespace={namespace}", "--for=create", "--timeout=60s")
        yield
    finally:
        kubectl("delete", "namespace", *NAMESPACES.values(), "--ignore-not-found")


@contextmanager
def _policy() -> Iterator[None]:
    """Apply the policy with the role, and remove it at the end of the block."""
    try:
        run_role("image_policy", **POLICY)
        yield
    finally:
        run_role("image_policy", **POLICY, image_policy_state="absent")


def _is_rewritten(session: requests.Session) -> bool:
    created = session.post(_url(WITH), params={"dryRun": "All"}, json=_pod("probe"), timeout=60)
    created.raise_for_status()
    return str(created.json()["spec"]["containers"][0]["image"]).startswith(ADDRESS)


def _create(session: requests.Session, pods: int) -> dict[str, dict[str, float]]:
    """Create Pods, delete them, and return the latency of their creation in milliseconds by condition."""
    times: dict[str, list[float]] = {name: [] for name in NAMESPACES}
    headers = {"Content-Type": "application/json"}
    try:
        for number in range(pods):
            body = json.dumps(_pod(f"pod-{number}"))
            for name in sorted(NAMESPACES, reverse=bool(number % 2)):
                started = time.monotonic()
                session.post(_url(name), data=body, headers=headers, timeout=60).raise_for_status()
                times[name].append(1000 * (time.monotonic() - started))
    finally:
        for name in NAMESPACES:
            session.delete(_url(name), params={"gracePeriodSeconds": 0}, timeout=60).raise_for_status()
    wait_until(
        lambda: not any(session.get(_url(name), timeout=60).json()["items"] for name in NAMESPACES),
        "the API server deletes the Pods",
    )
    return {name: _figures(latencies) for name, latencies in times.items()}


def _figures(latencies: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(latencies, n=100)
    return {"mean": statistics.mean(latencies), "p50": cuts[49], "p99": cuts[98], "count": len(latencies)}


def _url(condition: str) -> str:
    return f"{layout.API_URL}/api/v1/namespaces/{NAMESPACES[condition]}/pods"


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
