# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify bundles: read all files, and compare them with their digests."""

from __future__ import annotations

from collections.abc import Iterator

from .bundle_format import BundleFault
from .bundle_source import BundleSource


def check_bundle(source: BundleSource) -> Iterator[BundleFault]:
    """Read a whole bundle, and yield its faults.

    Raises:
        SourceError: A medium cannot be read at all.
    """
    yield from ()
