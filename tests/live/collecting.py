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
from cluster.kubectl import kubectl

from .s3 import s3

REGISTRY_USER = 65532
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
