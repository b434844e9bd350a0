# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks that push and pull one image, and the entries of their option ``images``."""

from __future__ import annotations

from typing import Any

from images.image import Image

from .conftest import Task


def push_entry(source: Image | str, repository: str, **more: Any) -> dict[str, Any]:
    """Return an entry of ``images`` that pushes an image to tag 1 of a repository.

    Args:
        source: A test image, whose OCI layout is pushed, or a source such as ``oci-archive:/path``.
        repository: The repository, without the host ``docker.io``.
        more: Further keys of the entry.
    """
    return {
        "source": source if isinstance(source, str) else f"oci:{source.layout}",
        "name": f"docker.io/{repository}:1",
        **more,
    }


def pull_entry(repository: str, dest: str, digest: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an entry of ``images`` that pulls an image from a repository.

    Args:
        repository: The repository, without the host ``docker.io``.
        dest: The destination, such as ``oci:/path``.
        digest: The image's digest; tag 1 is pulled without it.
        more: Further keys of the entry.
    """
    return {"name": f"docker.io/{repository}{f'@{digest}' if digest else ':1'}", "dest": dest, **more}


def push(task: Task, source: Image | str, repository: str, **options: Any) -> dict[str, Any]:
    """Push the image of :func:`push_entry` with further options of ``k8scr_push``, and return the result."""
    return task("k8scr_push", images=[push_entry(source, repository)], **options)


def pull(task: Task, repository: str, dest: str, digest: str | None = None, **options: Any) -> dict[str, Any]:
    """Pull the image of :func:`pull_entry` with further options of ``k8scr_pull``, and return the result."""
    return task("k8scr_pull", images=[pull_entry(repository, dest, digest)], **options)
