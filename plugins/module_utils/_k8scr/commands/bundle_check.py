# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify a bundle, and report its faults."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from ..stores.bundle_check import BundleChecker
from ..stores.bundle_format import BundleFault
from ..stores.bundle_source import open_bundle
from ..transfer.listener import Listener

_MOST_FAULTS = 1000
_MOST_LINES = 20
_MOST_IMAGES = 10
"""Names of images in a line of the message."""


def verify_bundle_at(path: Path, tmp_dest: str | None, listener: Listener | None = None) -> dict[str, Any]:
    """Read a whole bundle, and return the module's result.

    Raises:
        SourceError: There is no complete bundle at the path, or it cannot be read at all.
    """
    listener = listener or Listener()
    listener.phase_started("reading the bundle")
    with closing(open_bundle(path, tmp_dest)) as source:
        bundle = source.bundle
        checker = BundleChecker(source, listener.phase_advanced)
        listener.phase_started("verifying the bundle", checker.size)
        faults = list(islice(checker.faults(), _MOST_FAULTS))
    result: dict[str, Any] = {
        "changed": False,
        "images": [{"name": each.name, "digest": each.digest, "changed": False} for each in bundle.images],
        "base": [{"name": each.name, "digest": each.digest} for each in bundle.base],
        "faults": [vars(each) | {"images": list(each.images)} for each in faults],
    }
    if faults:
        more = len(faults) - _MOST_LINES
        # With one drive, most volumes are missing, and only damaged files matter.
        files_first = sorted(faults, key=lambda fault: not fault.path)
        lines = [_summary(path, faults), *map(_line, files_first[:_MOST_LINES])]
        result.update(failed=True, msg="\n".join([*lines, f"and {more} further faults"] if more > 0 else lines))
    return result


def _summary(path: Path, faults: Sequence[BundleFault]) -> str:
    # Missing volumes come first. With the most faults, those of the other volumes may be cut off.
    if len(faults) < _MOST_FAULTS and not any(each.path for each in faults):
        return (
            f"volumes of the bundle {path} are missing. All files of the other volumes are undamaged. Add the missing"
            " volumes. With one drive, verify each volume in turn."
        )
    return f"the bundle {path} is damaged. Copy or create it again."


def _line(fault: BundleFault) -> str:
    more = len(fault.images) - _MOST_IMAGES
    names = (*fault.images[:_MOST_IMAGES], f"{more} more") if more > 0 else fault.images
    return str(BundleFault(fault.volume, fault.path, names, fault.problem))
