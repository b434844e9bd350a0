# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Save the images of a registry to a local folder and restore them, while the registry's Pod is replaced."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ..errors import ApiServerError, SourceError
from ..files.file_access import FolderFiles, write_errors
from ..oci.descriptor import Descriptor
from ..oci.interfaces import SourceImage
from ..oci.manifest import Manifest
from ..registry.client import Registry
from ..registry.cluster import REGISTRY_ARGUMENT_SPEC, cache_folder, connect_registry
from ..registry.listing import repositories, tags
from ..registry.repository import Repository
from ..stores.oci_index import INDEX_FILE, entry_names
from ..stores.oci_layout import OciLayoutDestination, OciLayoutSource
from ..transfer.execute import Delivery, Order
from ..transfer.plan import ImageCopy
from ..transport.api_server import CONNECT_TIMEOUT, SILENCE_TIMEOUT
from ..transport.cluster import Cluster, connect

_UID = re.compile(r"[A-Za-z0-9-]{1,64}")


class _UntaggedRepository(Repository):
    """A repository in which a tag that has an image keeps it, because it was pushed after the images were saved."""

    def publish(self, root: Manifest, tag: str | None) -> None:
        """See :meth:`ImageDestination.publish`."""
        if tag is None or self.resolve(tag) is None:
            super().publish(root, tag)


def run_carry(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Save or restore a registry's images and return the module's result.

    Args:
        options: The parameters of ``k8scr_carry``.
        check_mode: Whether to only say what would happen.

    Raises:
        ClusterError: The options lead to no cluster.
        SourceError: The saved images cannot be read.
        DestinationError: The folder cannot be written.
    """
    defaults = {name: option.get("default") for name, option in REGISTRY_ARGUMENT_SPEC.items()}
    saves = options["state"] == "saved"
    delivery = Delivery(defaults["connections"], check_mode, fail_fast=False)
    with connect(options) as cluster:
        uid = _uid_of_stateful_set(cluster, options["namespace"], options["registry"])
    if uid is None:
        return {**delivery.run([]), "path": ""}
    folder = cache_folder() / "carried" / uid
    # A connection reads the kubeconfig again, and may run its credential plugin.
    if not saves and not folder.is_dir():
        return {**delivery.run([]), "path": str(folder)}
    with connect_registry({**defaults, **options}, writes=not saves) as registry:
        result = (save_images if saves else restore_images)(registry, folder, delivery)
    return {**result, "path": str(folder)}


def _uid_of_stateful_set(cluster: Cluster, namespace: str, pod: str) -> str | None:
    """Return what tells a registry from all others, also from one of the same name in another cluster.

    Returns:
        None if there is no registry, as in check mode before it is deployed.

    Raises:
        ApiServerError: The API server does not return the StatefulSet.
    """
    name = pod.rpartition("-")[0]
    path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}"
    code, value = cluster.adapter.read_object(path, (CONNECT_TIMEOUT, SILENCE_TIMEOUT))
    if code == 404:
        return None
    metadata = value.get("metadata")
    uid = metadata.get("uid") if code == 200 and isinstance(metadata, dict) else None
    if not isinstance(uid, str) or not _UID.fullmatch(uid):
        raise ApiServerError(
            f"the API server does not return the StatefulSet {name} in namespace {namespace}: "
            f"{value.get('message') or code}",
            status=code,
        )
    return uid


def save_images(registry: Registry, folder: Path, delivery: Delivery) -> dict[str, Any]:
    """Copy all tagged images of a registry to a folder and return a module's result.

    Args:
        registry: The registry.
        folder: The OCI layout; images that it has already are kept.
        delivery: How to copy.

    Raises:
        K8scrError: The registry does not list its images, or the folder cannot be written.
    """
    if not delivery.check_mode:
        with write_errors(folder):
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(_restored(folder), ignore_errors=True)
    with closing(OciLayoutDestination(folder)) as layout:
        return delivery.run(list(_orders_to(layout, registry)))


def _orders_to(layout: OciLayoutDestination, registry: Registry) -> Iterator[Order]:
    for repository in repositories(registry):
        for tag in tags(registry, repository):
            name = f"{repository}:{tag}"
            yield Order(name, _saving(registry, repository, tag, layout), {"target": f"{layout.folder}:{name}"})


def _saving(registry: Registry, repository: str, tag: str, layout: OciLayoutDestination) -> Callable[[], ImageCopy]:
    def prepare() -> ImageCopy:
        source = Repository(registry, repository)
        root = source.resolve(tag)
        if root is None:
            raise SourceError(f"the registry lists the tag {tag} of {repository} and has no image under it")
        return ImageCopy(source, SourceImage(root), layout, f"{repository}:{tag}")

    return prepare


def restore_images(registry: Registry, folder: Path, delivery: Delivery) -> dict[str, Any]:
    """Copy saved images to a registry, delete the folder and return a module's result.

    Args:
        registry: The registry; a tag that it has keeps its image.
        folder: The folder that :func:`save_images` wrote. If it does not exist, nothing is done.
        delivery: How to copy.

    Raises:
        K8scrError: The folder cannot be read, or the registry cannot be reached.
    """
    files = FolderFiles(folder)
    if not folder.is_dir() or files.size(INDEX_FILE) is None:
        return delivery.run([])
    with closing(OciLayoutSource(files)) as layout:
        named = [(entry, name) for entry in layout.entries for name in entry_names(entry)]
        orders = [_restoring(layout, entry, name, registry) for entry, name in named]
        result = delivery.run([order for order in orders if order])
    if result.get("failed"):
        result["msg"] += f" The images stay in {folder}; run again to restore them."
    elif not delivery.check_mode:
        # A folder that is deleted half is no layout, and the next run would not find it.
        with write_errors(folder):
            folder.rename(_restored(folder))
            shutil.rmtree(_restored(folder))
    return result


def _restored(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.restored")


def _restoring(layout: OciLayoutSource, entry: Descriptor, name: str, registry: Registry) -> Order | None:
    """Return the order for one saved image, or ``None`` if the registry has an image under its tag."""
    repository, _colon, tag = name.rpartition(":")
    destination = _UntaggedRepository(registry, repository)
    if destination.resolve(tag) is not None:
        return None
    copy = ImageCopy(layout, SourceImage(entry), destination, tag)
    return Order(name, lambda: copy, {"target": name}, copy)
