# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Blobs for tests of uploads and downloads."""

from __future__ import annotations

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository

from .stores import blob, content_of

SMALL = b"a small blob"
LARGE = b"0123456789abcdef" * ((3 << 19) // 16)
"""Content that is uploaded in two requests."""


def send(repository: Repository, content: bytes, mount_from: str | None = None) -> bool:
    """Store a blob, and return whether it was mounted."""
    return repository.put_blob(blob(digest_of(content), content), content_of(content), mount_from)
