# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make bundles for media: copy the images of the parameters of ``k8scr_bundle``, and finish the bundle."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from ..errors import InputError, K8scrError
from ..files.file_access import write_errors
from ..files.locked_file import file_lock
from ..files.unpacking import temporary_folder
from ..oci.digest import digest_of, split_digest
from ..registry.cluster import cache_folder
from ..registry.upstreams import Upstreams
from ..stores.bundle_format import BundleFile
from ..stores.bundle_store import REGISTRY_FILE, BundleStore
from ..stores.location import open_bundle_store
from ..transfer.bundle_images import BundleImages
from ..transfer.bundle_writer import BundleWriter
from ..transfer.execute import Transfer
from ..transfer.far_side import FarSide
from ..transfer.far_side_files import read_far_side
from ..transfer.listener import Listener, RetryLog
from ..transfer.progress import SILENT, Progress
from ..transfer.progress_listener import shown
from ..transfer.result_lines import Verb
from ..transfer.texts import counted
from .bundle_check import verify_bundle_at
from .bundle_jobs import BundleJobs
from .bundle_settings import BundleSettings
from .image_sources import ImageSources
from .lock_file import open_lock, report_with_lock
from .registry_archive import RegistryArchive, RegistryImage

BUNDLE_EMPTY_RESULT: Mapping[str, Any] = {"dest": "", "images": [], "selections": [], "retries": []}


def run_bundle(options: Mapping[str, Any], check_mode: bool, progress: Progress = SILENT) -> dict[str, Any]:
    """Make or verify a bundle and return the module's result.

    Raises:
        InputError: An option is invalid, or two entries write different images under one name.
        K8scrError: The destination, or what the other side has, cannot be read.
    """
    settings = BundleSettings.from_options(options)
    log = RetryLog()
    with log.in_errors(), shown(progress, Verb.WRITE, log) as listener:
        if settings.verify:
            verified = verify_bundle_at(settings.dest.path, settings.tmp_dest, listener)
            return {**BUNDLE_EMPTY_RESULT, **verified, "dest": str(settings.dest)}
        upstreams = Upstreams(settings.sources.upstreams, *settings.limits, listener.retried, listener.recovered)
        with closing(upstreams):
            return {**make_bundle(settings, check_mode, upstreams, listener), "retries": log.entries}


def make_bundle(settings: BundleSettings, check_mode: bool, upstreams: Upstreams, listener: Listener) -> dict[str, Any]:
    """Make a bundle and return the module's result."""
    lock, connections = open_lock(settings.sources), settings.limits[0]
    with ExitStack() as exit_stack:
        if not check_mode:
            exit_stack.enter_context(file_lock(_lock_path(settings)))
        store = exit_stack.enter_context(closing(open_bundle_store(settings.dest, settings.volume_size)))
        listener.phase_started("reading the bundle")
        far_side = _far_side(settings, upstreams, store)
        jobs = BundleJobs(store, far_side)
        sources = ImageSources(settings.sources, upstreams, lock, exit_stack)
        listener.phase_started(f"reading {counted(len(settings.sources.images), 'source')}")
        listed = jobs.read(sources)
        writer = BundleWriter(store, settings.volume_size, far_side, check_mode)
        # An option that cannot be used fails before anything is copied.
        folder = _scratch_folder(settings, exit_stack)
        extras = settings.extras.collect(folder, writer.extras, listener.phase_started)
        registry_image = (
            RegistryImage.read(settings.registry_image, folder, upstreams, lock, exit_stack)
            if settings.registry_image
            else None
        )
        results = Transfer(connections, check_mode, settings.fail_fast, writer.prepare).run(listed, listener)
        archive = RegistryArchive()
        if registry_image:
            existing = next((each for each in writer.extras if each.path == REGISTRY_FILE), None)
            archive = registry_image.write(existing, listener, check_mode)
        done = [*results, *archive.results]
        finished, failures, diffs = dict[str, Any](), list[str](), list[dict[str, str]]()
        if not any(result.error for result in done):
            images = BundleImages(store, results, writer.before is not None, settings.prune, check_mode)
            listener.phase_started("writing the bundle")
            try:
                finished, diffs = _finish(settings.prune, writer, images, archive, extras)
            except K8scrError as error:
                failures = [str(error)]
    report = report_with_lock(done, lock, check_mode, failures, diffs)
    for image, entry in zip(done, report["images"]):
        digest = jobs.left_out.get(image.plan.job)
        entry.update({"left_out": True, "digest": digest} if digest else {})
    return {
        **report,
        **finished,
        **sources.result,
        "changed": report["changed"] or bool(finished.get("changed")),
        "dest": str(settings.dest),
    }


def _lock_path(settings: BundleSettings) -> Path:
    """Return the file whose lock allows one run at a time to change a bundle."""
    at = os.path.realpath(settings.dest.path)
    return cache_folder() / "bundles" / split_digest(digest_of(os.fsencode(at)))[1]


def _far_side(settings: BundleSettings, upstreams: Upstreams, store: BundleStore) -> FarSide | None:
    """Return what the other side has, if the task states it. The bundle leaves out its blobs."""
    if settings.since is None:
        return None
    if os.path.realpath(settings.since) == os.path.realpath(settings.dest.path):
        raise InputError(f"since and dest are both {settings.since}", "Write the new bundle to another folder")
    found = read_far_side(settings.since, settings.tmp_dest)
    far_side = FarSide(found, upstreams, settings.limits[0], store.previous)
    store.omitted = far_side
    return far_side


def _scratch_folder(settings: BundleSettings, exit_stack: ExitStack) -> Path:
    """Return an empty folder for downloads, which exists until the bundle is finished."""
    parent = temporary_folder(settings.tmp_dest)
    with write_errors(parent):
        return Path(exit_stack.enter_context(tempfile.TemporaryDirectory(dir=parent)))


def _finish(
    prune: bool,
    writer: BundleWriter,
    images: BundleImages,
    archive: RegistryArchive,
    extras: Mapping[BundleFile, Path | None],
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Finish the bundle; return the part of the module's result about it, and the changes for ``--diff``."""
    store, before = writer.store, writer.extras
    files = {each.path: each for each in before if not prune}
    files.update({each.path: each for each in extras})
    contents = {each.path: local for each, local in extras.items() if local}
    if archive.file:
        files[REGISTRY_FILE] = archive.file
        contents.update({REGISTRY_FILE: archive.local} if archive.local else {})
    removed = images.removed_images
    after = writer.finish(images, list(files.values()), contents)
    finished = {
        "changed": after is not None,
        "removed": [each.name for each in removed],
        "volumes": [{"number": each.number, "path": str(each.path), "bytes": each.bytes} for each in store.volumes()],
        "bytes": images.size + sum(each.size for each in files.values()),
        "extras": [{"path": each.path, "size": each.size, "sha256": each.sha256} for each in _sorted(files.values())],
    }
    diffs = [
        _diff("images", [f"{each.name} {each.digest}" for each in removed], []),
        _diff(
            "extras",
            *(
                [f"{each.path} {each.sha256 or '(known after the copy)'}" for each in _sorted(some)]
                for some in (before, files.values())
            ),
        ),
    ]
    return finished, [each for each in diffs if each["before"] != each["after"]]


def _sorted(files: Iterable[BundleFile]) -> list[BundleFile]:
    return sorted(files, key=lambda each: each.path)


def _diff(what: str, before: Sequence[str], after: Sequence[str]) -> dict[str, str]:
    texts = {"before": "".join(f"{line}\n" for line in before), "after": "".join(f"{line}\n" for line in after)}
    return {**texts, "before_header": what, "after_header": what}
