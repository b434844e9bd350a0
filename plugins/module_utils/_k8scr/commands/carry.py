# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Save the images of a registry to a local folder and restore them, while the registry's Pod is replaced."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ApiServerError, K8scrError, SourceError
from ..files.file_access import FolderFiles, write_errors
from ..http.retry import Retries
from ..oci.descriptor import Descriptor
from ..oci.interfaces import SourceImage
from ..oci.json_object import json_object
from ..oci.manifest import Manifest
from ..registry.client import Registry
from ..registry.cluster import RegistrySettings, cache_folder, connect_registry
from ..registry.listing import repositories, tags
from ..registry.repository import Repository
from ..stores.oci_index import INDEX_FILE, entry_names
from ..stores.oci_layout import OciLayoutDestination, OciLayoutSource
from ..transfer.execute import Transfer
from ..transfer.job import ImageCopy, ImageJob
from ..transfer.listener import Listener
from ..transfer.progress import SILENT, Progress
from ..transfer.progress_listener import shown
from ..transfer.report import report
from ..transfer.result_lines import Verb
from .cluster_options import cluster_settings
from .registry_settings import REGISTRY_POD_ARGUMENT_SPEC, pod_settings

if TYPE_CHECKING:
    from ..transport.api_server import ApiServerAdapter

CARRY_ARGUMENT_SPEC: dict[str, Any] = {
    **REGISTRY_POD_ARGUMENT_SPEC,
    "state": {"type": "str", "choices": ["saved", "restored"], "required": True},
}

CARRY_EMPTY_RESULT: Mapping[str, Any] = {"images": [], "path": ""}
_UID = re.compile(r"[A-Za-z0-9-]{1,64}")


class _TagKeepingRepository(Repository):
    """A repository whose existing tags stay unchanged: their images were pushed after the save."""

    def publish(self, root: Manifest, tag: str | None) -> None:
        if tag is None or self.resolve(tag) is None:
            super().publish(root, tag)


def run_carry(options: Mapping[str, Any], check_mode: bool, progress: Progress = SILENT) -> dict[str, Any]:
    """Save or restore a registry's images and return the module's result.

    Raises:
        ClusterError: No cluster is configured, or its configuration cannot be used.
        InputError: An option is invalid.
        SourceError: The saved images cannot be read.
        DestinationError: The folder cannot be written.
    """
    settings, saves = RegistrySettings(cluster_settings(options), pod_settings(options)), options["state"] == "saved"
    transfer = Transfer(settings.connections, check_mode)
    with (
        shown(progress, Verb.DOWNLOAD if saves else Verb.UPLOAD) as listener,
        connect_registry(
            settings, writes=not saves, on_retry=listener.retried, on_recovery=listener.recovered
        ) as registry,
    ):
        uid = _uid_of_stateful_set(registry.api_server, settings.pod.namespace, settings.pod.name)
        if uid is None:
            return {**report([]), "path": ""}
        folder = cache_folder() / "carried" / uid
        result = (save_images if saves else restore_images)(registry, folder, transfer, listener)
    return {**result, "path": str(folder)}


def _uid_of_stateful_set(api_server: ApiServerAdapter, namespace: str, pod: str) -> str | None:
    """Return the UID of the registry's StatefulSet, which is unique across clusters; None if it does not exist."""
    name = pod.rpartition("-")[0]
    path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}"
    description = f"the StatefulSet {name} in namespace {namespace}"
    found = Retries().run(f"read {description}", lambda: api_server.read_object(path, description))
    if found is None:
        return None
    uid = json_object(found.get("metadata")).get("uid")
    if not isinstance(uid, str) or not _UID.fullmatch(uid):
        raise ApiServerError(f"the API server returned {description} without a valid UID")
    return uid


def save_images(
    registry: Registry, folder: Path, transfer: Transfer, listener: Listener | None = None
) -> dict[str, Any]:
    """Add all tagged images of a registry to an OCI layout, and return a module's result.

    Raises:
        K8scrError: The registry does not list its images, or the folder cannot be written.
    """
    if not transfer.check_mode:
        with write_errors(folder):
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(_restored(folder), ignore_errors=True)
    with closing(OciLayoutDestination(folder)) as layout:
        names = [(name, tag) for name in repositories(registry) for tag in tags(registry, name)]
        with ThreadPoolExecutor(transfer.connections) as workers:
            jobs = list(workers.map(partial(_saving, registry, layout), names))
        return report(transfer.run(jobs, listener))


def _saving(registry: Registry, layout: OciLayoutDestination, image: tuple[str, str]) -> ImageJob:
    source, tag = Repository(registry, image[0]), image[1]
    name = f"{source.repository}:{tag}"
    target = f"{layout.folder}:{name}"
    try:
        root = source.resolve(tag)
        if root is None:
            raise SourceError(f"the registry lists the tag {tag} of {source.repository}, but returns no image for it")
    except K8scrError as error:
        return ImageJob(name, target=target, error=error)
    return ImageJob(name, ImageCopy(source, SourceImage(root), layout, name), target)


def restore_images(
    registry: Registry, folder: Path, transfer: Transfer, listener: Listener | None = None
) -> dict[str, Any]:
    """Copy saved images to a registry, delete their folder and return a module's result.

    Existing tags stay unchanged. The folder may be missing.

    Raises:
        K8scrError: The folder cannot be read, or the registry cannot be reached.
    """
    files = FolderFiles(folder)
    if not folder.is_dir() or files.size(INDEX_FILE) is None:
        return report([])
    with closing(OciLayoutSource(files)) as layout:
        named = [(entry, name) for entry in layout.entries for name in entry_names(entry)]
        jobs = [_restoring(layout, entry, name, registry) for entry, name in named]
        results = transfer.run([job for job in jobs if job], listener)
    if any(result.error for result in results):
        return report(results, [f"The images stay in {folder}; run again to restore them."])
    if not transfer.check_mode:
        # A partly deleted folder is not a valid layout, so the next run must not find it.
        with write_errors(folder):
            folder.rename(_restored(folder))
            shutil.rmtree(_restored(folder))
    return report(results)


def _restored(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.restored")


def _restoring(layout: OciLayoutSource, entry: Descriptor, name: str, registry: Registry) -> ImageJob | None:
    """Return the job for one saved image, or ``None`` if its tag exists in the registry."""
    repository, _colon, tag = name.rpartition(":")
    destination = _TagKeepingRepository(registry, repository)
    if destination.resolve(tag) is not None:
        return None
    return ImageJob(name, ImageCopy(layout, SourceImage(entry), destination, tag), name)
