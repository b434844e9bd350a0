# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Installs rendered charts and manifests on the test cluster, and returns the images of the Pods that it creates.

The nodes cannot pull most of the images, so operators do not run. Their webhooks and API services would fail requests
of the whole cluster; they are left out.
"""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_workload_reference
from cluster import layout
from cluster.catalogue import KUBERNETES
from cluster.errors import ClusterError
from cluster.kubectl import kubectl
from cluster.waiting import wait_until

from .catalogue import Input

_LEFT_OUT = ("APIService", "MutatingWebhookConfiguration", "Namespace", "ValidatingWebhookConfiguration")
_TEST_HOOKS = ("test", "test-success", "test-failure")
_SECONDS = 60
_LABEL = "k8scr.example/charts"
_EXPONENT = "!exponent"


class _Loader(yaml.CSafeLoader):
    """Reads ``1e+06``, as Helm renders a million, as a number, and a plain ``=`` as text; PyYAML does not."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _loader, node: str(node.value))
_Loader.add_constructor(_EXPONENT, lambda _loader, node: round(json.loads(node.value)))
_Loader.add_implicit_resolver(_EXPONENT, re.compile(r"[1-9](\.[0-9]+)?e\+[0-9]+"), list("123456789"))


def chart_options(wanted: Input, path: Path, namespace: str = "charts") -> dict[str, Any]:
    """Return the options of k8scr_find_images for an input."""
    if not wanted.is_chart:
        return {"src": [str(path)]}
    chart = {"chart": str(path), "values": dict(wanted.values), "kube_version": KUBERNETES, "namespace": namespace}
    return {"charts": [chart], "helm": str(layout.BIN / "helm")}


@contextmanager
def installed(wanted: Input, path: Path) -> Iterator[set[str]]:
    """Install an input in a namespace of its own, and yield the images of its Pods; delete everything afterwards."""
    namespace = f"charts-{secrets.token_hex(4)}"
    objects = list(_objects(wanted, path, namespace))
    definitions = [each for each in _served(objects) if each["kind"] == "CustomResourceDefinition"]
    metadata = {"name": namespace, "labels": {_LABEL: "true"}}
    kubectl("create", "-f=-", stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
    try:
        with _applied(definitions):
            if definitions:
                kubectl(
                    "wait", "--for=condition=Established", f"--timeout={_SECONDS}s", "-f=-", stdin=_text(definitions)
                )
            others = [each for each in _served(objects, namespace) if each not in definitions]
            with _applied(others):
                _run_cron_jobs(others, namespace)
                yield _images_of_pods(others, namespace)
    finally:
        kubectl("delete", "pods", "--all", f"--namespace={namespace}", "--force", "--grace-period=0", "--wait=false")
        kubectl("delete", "namespace", namespace, "--wait=false")


def wait_until_deleted() -> None:
    """Wait until the cluster has deleted the namespaces of all inputs."""
    kubectl("wait", "--for=delete", "namespaces", f"--selector={_LABEL}", f"--timeout={3 * _SECONDS}s")


def _objects(wanted: Input, path: Path, namespace: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of an input, without those of Helm's tests."""
    for text in _texts(wanted, path, namespace):
        for document in yaml.load_all(text, Loader=_Loader):
            items = document.get("items", [document]) if isinstance(document, dict) else []
            for each in items:
                annotations = each["metadata"].get("annotations") or {}
                if each["kind"] not in _LEFT_OUT and annotations.get("helm.sh/hook") not in _TEST_HOOKS:
                    each["metadata"].pop("namespace", None)
                    yield each


def _texts(wanted: Input, path: Path, namespace: str) -> Iterator[str]:
    if not wanted.is_chart:
        yield from (file.read_text() for file in ([path] if path.is_file() else sorted(path.rglob("*.yaml"))))
        return
    command = [str(layout.BIN / "helm"), "template", "release-name", str(path), "--include-crds"]
    command += [f"--kube-version={KUBERNETES}", f"--namespace={namespace}", "--values=-"]
    values = json.dumps(dict(wanted.values))
    yield subprocess.run(command, input=values, check=True, stdout=subprocess.PIPE, text=True).stdout


def _kinds() -> dict[tuple[str, str], bool]:
    """Return the kinds that the API server serves, by version and kind, each with whether it has a namespace."""
    kinds = {}
    # Columns of the wide output are aligned; only the short names may be missing.
    for line in kubectl("api-resources", "--no-headers").splitlines():
        *_names, version, namespaced, kind = line.split()
        kinds[version, kind] = namespaced == "true"
    return kinds


def _served(objects: Sequence[dict[str, Any]], namespace: str = "") -> list[dict[str, Any]]:
    """Return the objects of kinds that the API server serves, with the namespace where the kind has one."""
    kinds = _kinds()
    served = [each for each in objects if (each["apiVersion"], each["kind"]) in kinds]
    for each in served:
        if namespace and kinds[each["apiVersion"], each["kind"]]:
            each["metadata"]["namespace"] = namespace
    return served


@contextmanager
def _applied(objects: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Apply objects, and delete those without a namespace at the end."""
    try:
        if objects:
            kubectl("apply", "--server-side", "--force-conflicts", "-f=-", stdin=_text(objects))
        yield
    finally:
        of_cluster = [each for each in objects if not each["metadata"].get("namespace")]
        if of_cluster:
            _delete(of_cluster)


def _delete(objects: Sequence[dict[str, Any]]) -> None:
    """Delete objects, and wait until the cluster has deleted them.

    The API server sometimes misses that it has to finish the deletion of a definition, until the definition changes
    or after five minutes.
    """
    text = _text(objects)
    deadline = time.monotonic() + 2 * _SECONDS
    while True:
        try:
            kubectl("delete", "--ignore-not-found", "--timeout=10s", "-f=-", stdin=text)
        except ClusterError:
            if time.monotonic() > deadline:
                raise
        else:
            return
        # Some of the objects may be deleted already.
        with suppress(ClusterError):
            kubectl("annotate", "--overwrite", "-f=-", f"{_LABEL}={time.monotonic_ns()}", stdin=text)


def _text(objects: Sequence[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def _run_cron_jobs(objects: Sequence[dict[str, Any]], namespace: str) -> None:
    for name in (each["metadata"]["name"] for each in objects if each["kind"] == "CronJob"):
        kubectl("create", "job", f"--from=cronjob/{name}", f"run-{name}"[:60], f"--namespace={namespace}")


def _images_of_pods(objects: Sequence[dict[str, Any]], namespace: str) -> set[str]:
    """Return the full names of the images of all Pods, once every workload that creates Pods has one."""
    creators = {(each["kind"], each["metadata"]["name"]) for each in objects if _creates_pods(each)}
    pods: list[dict[str, Any]] = []

    def all_exist() -> bool:
        pods[:] = json.loads(kubectl("get", "pods", f"--namespace={namespace}", "--output=json"))["items"]
        names = [pod["metadata"]["name"] for pod in pods]
        return all(any(name.startswith(creator) for name in names) for _kind, creator in creators)

    wait_until(all_exist, f"Pods of {sorted(creators)} exist", _SECONDS)
    containers = [each for pod in pods for key in _CONTAINERS for each in pod["spec"].get(key) or ()]
    return {str(parse_workload_reference(each["image"])) for each in containers}


_CONTAINERS = ("containers", "initContainers")


def _creates_pods(item: dict[str, Any]) -> bool:
    kind, spec = item["kind"], item.get("spec") or {}
    if kind == "DaemonSet":
        # Windows and other nodes do not exist.
        return not spec["template"]["spec"].get("nodeSelector") and not spec["template"]["spec"].get("affinity")
    return kind in ("Pod", "Job") or (kind in ("Deployment", "StatefulSet") and spec.get("replicas", 1) != 0)
