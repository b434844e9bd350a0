# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_archive_info``: list the images in archives on the controller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..errors import InputError
from ..files.file_access import is_folder
from ..oci.digest import digest_of, split_digest
from ..oci.graph import walk_manifests
from ..stores.bundle_format import BundleManifest
from ..stores.bundle_source import BundleSource, is_bundle
from ..stores.location import Location, open_source

ARCHIVE_INFO_ARGUMENT_SPEC: dict[str, Any] = {"archives": {"type": "list", "elements": "path", "required": True}}


def run_archive_info(module: AnsibleModule) -> dict[str, Any]:
    """Run ``k8scr_archive_info`` and return its result. The errors are those of :func:`read_archive`."""
    archives = [Path(archive) for archive in module.params["archives"]]
    read = [read_archive(archive) for archive in archives]
    images = [entry for entries, _bundle in read for entry in entries]
    bundles = {str(archive): bundle for archive, (_entries, bundle) in zip(archives, read)}
    entries = [{**entry, "bundle": bundles[entry["path"]]} for entry in archive_entries(archives)]
    return {"changed": False, "images": images, "archives": entries}


def read_archive(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return the entries of an archive's images in the result, and its entry as a bundle, if it is one.

    Raises:
        SourceError: The archive does not exist, or cannot be read.
        InputError: The path is not an archive, or an image has no full name, which Pods need to use it.
    """
    if is_folder(path):
        if is_bundle(path):
            raise InputError(
                f"{path} is a bundle in a folder, not an archive",
                "k8scr_push reads it in place. For an archive, create the bundle with oci-archive: before its path",
            )
        raise InputError(
            f"{path} is a folder, not an archive",
            f"Pack it with: skopeo copy oci:{path}:NAME oci-archive:ARCHIVE:NAME",
        )
    images: list[tuple[str, str, tuple[str, ...]]] = []
    with closing(open_source(Location("", path))) as source:
        bundle = _bundle_entry(source.bundle) if isinstance(source, BundleSource) else None
        for image in source.images():
            if image.name is None or image.name.tag is None:
                raise image.name_error or InputError(
                    f"{path} has an image without a full name, {image.root.digest}",
                    "Save it under its name, as docker save NAME and skopeo copy … oci-archive:PATH:NAME do",
                )
            name = f"{image.name.host}/{image.name.path}:{image.name.tag}"
            if image.config_digest:
                images.append((name, "", (image.config_digest,)))
            else:
                # Docker lists platforms that it did not save.
                configs = (each.config for each in walk_manifests(source, image.root, partial=True))
                images.append((name, image.root.digest, tuple(config.digest for config in configs if config)))
    file = _with_prefix(path, "".join(sorted(f"{name}{digest}{configs}" for name, digest, configs in images)))
    entries = [
        {"archive": str(path), "file": file, "name": name, "digest": digest, "config_digests": list(configs)}
        for name, digest, configs in images
    ]
    return entries, bundle


def archive_entries(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the entries of archives in the result, each with a file name that is unique among them.

    Archives with the same base name would replace each other in the folder, so their names get a prefix. It depends on
    the path, so that a new version of an archive replaces the previous one. ``other_name`` is the other of
    the two names, with or without the prefix: earlier copies of the archive may have it.
    """
    unique = list(dict.fromkeys(paths))
    base_names = Counter(path.name for path in unique)
    entries = []
    for path in unique:
        shared = base_names[path.name] > 1
        names = [path.name, _with_prefix(path, str(path))]
        entries.append({"path": str(path), "name": names[shared], "other_name": names[not shared], "shared": shared})
    return entries


def _bundle_entry(bundle: BundleManifest) -> dict[str, Any]:
    return {
        "base": [{"name": image.name, "digest": image.digest} for image in bundle.base],
        "omitted": len(bundle.omitted),
        "omitted_bytes": sum(blob.size for blob in bundle.omitted.values()),
        "extras": [dict(vars(extra)) for extra in bundle.extras],
    }


def _with_prefix(path: Path, text: str) -> str:
    """Return the base name of an archive, with the beginning of the digest of ``text`` as its prefix."""
    return f"{split_digest(digest_of(text.encode()))[1][:12]}-{path.name}"
