# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock file: the digest of each image name, so that later runs and other clusters get the same images.

The file is a JSON object, sorted by name and with a line for each image, so that a review shows each change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError, SourceError
from ..files.file_access import read_small, replace_file, write_errors
from ..files.locked_file import folder_lock
from ..files.vault import reject_vault
from ..oci.digest import parse_digest
from ..oci.interfaces import SourceImage
from ..oci.manifest import MAXIMUM_SIZE
from ..oci.reference import Reference, parse_workload_reference


class ImageLock:
    """A lock file.

    Args:
        path: The file.
        enforced: Whether images must match the file; the file is then not written.

    Raises:
        InputError: The file is damaged, its folder does not exist, or an enforced file does not exist.
    """

    def __init__(self, path: Path, enforced: bool) -> None:
        self.enforced = enforced
        self._path = Path(os.path.realpath(path))
        self._before = self._read()
        self._updates: dict[str, str] = {}

    def digest_of(self, name: Reference) -> str:
        """Return the digest of a name.

        Raises:
            InputError: The file has no entry for the name.
        """
        key = _key(name)
        if key not in self._before:
            raise InputError(f"the lock file {self._path} has no digest for {key}", "Run once without locked to add it")
        return self._before[key]

    def tags_of(self, repository: Reference) -> list[str]:
        """Return the tags of a repository in the file.

        Raises:
            InputError: The file has no tag of the repository.
        """
        prefix = f"{repository}:"
        tags = [key[len(prefix) :] for key in self._before if key.startswith(prefix)]
        if not tags:
            raise InputError(
                f"the lock file {self._path} has no tag of {repository}", "Run once without locked to add the tags"
            )
        return tags

    def require(self, name: Reference, image: SourceImage, where: str) -> None:
        """Check that an image from a source has the digest of its name, if the file is enforced.

        Args:
            where: The source in messages.

        Raises:
            InputError: The file has no entry for the name.
            SourceError: The image has another digest.
        """
        if not self.enforced:
            return
        locked = self.digest_of(name)
        if locked not in (image.root.digest, image.config_digest):
            raise SourceError(
                f"{where} has {image.identity} for {_key(name)}, and the lock file {self._path} has {locked}",
                "Use the locked image, or run once without locked to lock this one",
            )

    def update(self, images: Iterable[tuple[Reference, str]]) -> None:
        """Set the digests of names; other entries stay."""
        if not self.enforced:
            self._updates.update({_key(name): digest for name, digest in images})

    @property
    def changed(self) -> bool:
        """Whether the updates change the file; after :meth:`save`, whether they changed it."""
        return self._after != self._before

    @property
    def diff(self) -> dict[str, Any]:
        """The change, as ``--diff`` shows it."""
        texts = {"before": _text(self._before) if self._before else "", "after": _text(self._after)}
        return {**texts, "before_header": str(self._path), "after_header": str(self._path)}

    def save(self) -> None:
        """Add the updates to the current content of the file, which another run may have changed.

        Raises:
            DestinationError: The file cannot be written; its previous content stays.
            InputError: The file is damaged.
        """
        if not self._updates:
            return
        with write_errors(self._path), folder_lock(self._path.parent):
            self._before = self._read()
            if self.changed:
                replace_file(self._path, _text(self._after).encode())

    @property
    def _after(self) -> dict[str, str]:
        return {**self._before, **self._updates}

    def _read(self) -> dict[str, str]:
        entries = _read(self._path)
        if entries is not None:
            return entries
        if self.enforced:
            raise InputError(f"the lock file {self._path} does not exist", "Run once without locked to create it")
        if not self._path.parent.is_dir():
            raise InputError(f"the folder {self._path.parent}, for the lock file, does not exist", "Create it first")
        return {}


def read_lock(path: Path) -> list[tuple[Reference, str]]:
    """Return the names in a lock file, each with its digest: of the manifest or index, or of the config.

    Raises:
        InputError: The file is damaged or does not exist.
    """
    path = Path(os.path.realpath(path))
    entries = _read(path)
    if entries is None:
        raise InputError(
            f"the lock file {path} does not exist", "Check the path. k8scr_push creates the file with lock"
        )
    return [(parse_workload_reference(name), digest) for name, digest in entries.items()]


def _read(path: Path) -> dict[str, str] | None:
    """Return the digests in a lock file by their names; ``None`` if it does not exist.

    Raises:
        InputError: The file is damaged or cannot be read.
    """
    try:
        content = read_small(path, MAXIMUM_SIZE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(
            f"the lock file {path} cannot be read: {error.strerror}", "Check the path and its permissions"
        ) from error
    reject_vault(content, f"the lock file {path}")
    try:
        if len(content) > MAXIMUM_SIZE:
            raise InputError(f"it has more than {MAXIMUM_SIZE} bytes")
        entries = json.loads(content)
        if not isinstance(entries, dict):
            raise InputError("it is not a JSON object")
        return {_key(parse_workload_reference(name)): parse_digest(digest) for name, digest in entries.items()}
    except (ValueError, RecursionError) as error:
        raise InputError(f"the lock file {path} is damaged: it is not JSON", _RESTORE) from error
    except InputError as error:
        raise InputError(f"the lock file {path} is damaged: {error.message}", error.advice or _RESTORE) from error


_RESTORE = "Restore the file, or remove it and run the task without locked to write it again"


def _key(name: Reference) -> str:
    """Return the key of a name: without the digest, if it has a tag."""
    return str(replace(name, digest=None) if name.tag else name)


def _text(entries: dict[str, str]) -> str:
    return json.dumps(entries, indent=2, sort_keys=True) + "\n"
