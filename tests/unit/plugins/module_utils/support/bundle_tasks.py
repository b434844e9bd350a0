# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks of k8scr_bundle, and the files of bundles."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from pathlib import Path
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.bundle import make_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.bundle_settings import (
    BUNDLE_ARGUMENT_SPEC,
    BundleSettings,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upstreams import Upstreams
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.listener import RetryLog

from .settings import module_options


def bundle_settings(dest: object, *images: Any, **options: Any) -> BundleSettings:
    """Return the settings of a task of k8scr_bundle."""
    given = module_options(BUNDLE_ARGUMENT_SPEC, dest=str(dest), images=list(images), **options)
    return BundleSettings.from_options(given)


def bundle_to(dest: object, *images: Any, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    """Make a bundle as k8scr_bundle does. Return the result."""
    settings, log = bundle_settings(dest, *images, **options), RetryLog()
    upstreams = Upstreams(
        settings.sources.upstreams, settings.limits[0], timeout=10.0, retry_timeout=8.0, on_retry=log.retried
    )
    with closing(upstreams):
        return {**make_bundle(settings, check_mode, upstreams, log), "retries": log.entries}


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, hidden ones too, by their paths."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def description(folder: Path) -> dict[str, Any]:
    """Return the content of ``bundle.json``."""
    value = json.loads((folder / "bundle.json").read_bytes())
    assert isinstance(value, dict)
    return value


def check_sums(folder: Path) -> None:
    """Check that ``SHA256SUMS`` lists all files but itself, with their sums."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    stated = {path: digest for digest, _spaces, path in (line.partition("  ") for line in lines)}
    files = {path: hashlib.sha256(content).hexdigest() for path, content in tree(folder).items()}
    del files["SHA256SUMS"]
    assert stated == files


def blobs(folder: Path) -> set[str]:
    """Return the digests of the manifests and blobs in a bundle."""
    return {f"{path.parent.name}:{path.name}" for path in folder.glob("blobs/*/*")}
