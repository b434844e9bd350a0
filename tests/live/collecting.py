# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Registries with each kind of storage, and their garbage collector, for tests."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import (
    PodSettings,
    RegistrySettings,
    connect_registry,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.collector import Collector
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.settings import ClusterSettings
from cluster import layout, users
from cluster.kubectl import kubectl

from .conftest import Task
from .layout_writer import LayoutWriter
from .registry_role import deployed
from .s3 import s3

REGISTRY_USER = 65532
PRUNER, PUSHER = "collecting-pruner", "collecting-pusher"
COLLECTION_TIMEOUT = 180
"""Seconds."""
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@contextmanager
def storage(kind: str, folder: Path, namespace: str) -> Iterator[dict[str, Any]]:
    """Provide a storage until the end of the block.

    Args:
        kind: A value of ``registry_storage``.
        folder: An empty folder, which all nodes can see.
        namespace: The registry's namespace.

    Yields:
        The variables of the role for this storage.
    """
    if kind == "s3":
        with s3(folder) as variables:
            yield variables
        return
    os.chown(folder, REGISTRY_USER, REGISTRY_USER)
    for parent in folder.parents:
        # pytest's folders are accessible for their owner only.
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    if kind == "persistentVolumeClaim":
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": namespace},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "capacity": {"storage": "1Gi"},
                "hostPath": {"path": str(folder)},
                "claimRef": {"namespace": namespace, "name": "k8scr"},
            },
        }
        kubectl("apply", "--filename=-", stdin=json.dumps(volume))
        try:
            yield {
                "registry_storage": kind,
                "registry_storage_size": "1Gi",
                "registry_storage_access_mode": "ReadWriteMany",
            }
        finally:
            kubectl("delete", "persistentvolume", namespace, "--wait=false")
        return
    yield {"registry_storage": kind, **({"registry_storage_path": str(folder)} if kind == "hostPath" else {})}


@contextmanager
def registry_client(namespace: str, kubeconfig: Path) -> Iterator[tuple[Registry, Collector]]:
    """Connect to the write port of a registry as a user."""
    settings = RegistrySettings(ClusterSettings(kubeconfig=str(kubeconfig)), PodSettings(namespace))
    with connect_registry(settings, writes=True) as registry:
        yield registry, Collector(registry, settings.pod)


def delete(registry: Registry, repository: str, digest: str) -> None:
    """Delete a manifest and its tags."""
    registry.request_with_retries("DELETE", f"/v2/{repository}/manifests/{digest}", "manifest", (202,))


def blob_bytes(registry: Registry, repository: str) -> int:
    """Return the bytes of the blobs of the image with tag 1 in a repository, its manifest included."""
    response = registry.request_with_retries(
        "GET", f"/v2/{repository}/manifests/1", "manifest", (200,), headers={"Accept": MANIFEST}
    )
    manifest = json.loads(response.content)
    return len(response.content) + sum(int(blob["size"]) for blob in (manifest["config"], *manifest["layers"]))


def subject(name: str) -> dict[str, str]:
    """Return a user as a subject of a RoleBinding."""
    return {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}


def role_variables(namespace: str, **variables: Any) -> dict[str, Any]:
    """Return the variables of the role for a registry with a collector and its users."""
    return {
        "registry_namespace": namespace,
        "registry_delete": True,
        "registry_prune_subjects": [subject(PRUNER)],
        "registry_push_subjects": [subject(PUSHER)],
        **variables,
    }


@contextmanager
def registry_with_collector(namespace: str, **variables: Any) -> Iterator[None]:
    """Deploy a registry with a collector, remove it at the end of the block, and create its users."""
    with deployed(**role_variables(namespace, **variables)):
        for user in (PRUNER, PUSHER):
            users.make(user)
            users.wait_for_permission(user, namespace)
        yield


def kubeconfig_of(user: str) -> Path:
    """Return the kubeconfig of a user of :func:`registry_with_collector`."""
    return layout.USERS / f"{user}.kubeconfig"


def push_random(task: Task, folder: Path, repository: str, size: int, namespace: str, **options: Any) -> dict[str, Any]:
    """Push a new image with random content and return the result."""
    writer = LayoutWriter(folder / repository.replace("/", "-"))
    writer.add(f"docker.io/{repository}:1", layers=2, size=size)
    return task("k8scr_push", images=[writer.finish()], namespace=namespace, **options)
