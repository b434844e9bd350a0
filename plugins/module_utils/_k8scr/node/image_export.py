# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find images in a node's containerd, and export them to archives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..errors import ClusterError, SourceError
from ..files.file_access import write_errors
from .host import HostCommands, run_program
from .runtime_images import Containerd

_CHECK_STATUS = 3
"""The index of the status among the words in a line of ``ctr images check``: name, type, digest, status."""
_COMPLETE = "complete"


class State(Enum):
    """Whether containerd can export an image."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    MISSING = "missing"


@dataclass(frozen=True)
class FoundImage:
    """An image that containerd has or does not have.

    Attributes:
        digest: The digest of its manifest or index; empty if it is missing.
    """

    name: str
    digest: str
    state: State

    @property
    def reason(self) -> str:
        """The reason why it cannot be exported; empty if it can."""
        return {
            State.COMPLETE: "",
            State.INCOMPLETE: f"containerd has discarded layers of {self.name}",
            State.MISSING: f"containerd does not have {self.name}",
        }[self.state]


def find_images(containerd: Containerd, names: Sequence[str]) -> list[FoundImage]:
    """Return images by their names in containerd, in the same order.

    An image is complete if containerd has all of its content for the node's platform. It discards layers after it has
    unpacked them if ``discard_unpacked_layers`` is set.

    Raises:
        ClusterError: containerd rejects a command.
    """
    records = containerd.records(f'name=="{name}"' for name in names) if names else {}
    found = []
    for name in names:
        state = State.MISSING
        if name in records:
            state = State.COMPLETE if _is_complete(containerd, name) else State.INCOMPLETE
        found.append(FoundImage(name, records[name].digest if name in records else "", state))
    return found


def _is_complete(containerd: Containerd, name: str) -> bool:
    # The status of the command says whether the default snapshotter has the image, which is irrelevant.
    command = [*containerd.program, "images", "check", f'name=="{name}"']
    _status, printed, _errors = run_program(containerd.commands, command)
    lines = (line.split() for line in printed.splitlines())
    return any(words[0] == name and words[_CHECK_STATUS] == _COMPLETE for words in lines if len(words) > _CHECK_STATUS)


def export_image(containerd: Containerd, image: FoundImage, archive: Path) -> None:
    """Export an image for the node's platform to an OCI archive, which the owner of its folder owns.

    The archive has the digest and the name of the image in containerd.

    Raises:
        SourceError: containerd does not have the image or all of its layers.
        ClusterError: containerd cannot export it, for example because the disk is full.
        DestinationError: The owner of the archive cannot be set.
    """
    if image.state is not State.COMPLETE:
        raise SourceError(image.reason, "Preload an archive of the image, or pull it again")
    try:
        # By default, ctr 2 receives the archive from containerd, and may exit before it has written all of it. ctr 1.6
        # has no such option.
        containerd.ctr("images", "export", str(archive), image.name, optional=["--local"])
    except ClusterError:
        with suppress(OSError):
            archive.unlink()
        raise
    with write_errors(archive):
        owner = archive.parent.stat()
        os.chown(archive, owner.st_uid, owner.st_gid)


def effective_config(commands: HostCommands, program: str, path: Path) -> str:
    """Return containerd's effective configuration; without a configuration file, its default.

    Raises:
        SourceError: containerd cannot be run, or cannot read its configuration.
    """
    arguments = ["--config", str(path), "config", "dump"] if os.path.lexists(path) else ["config", "default"]
    status, printed, errors = run_program(commands, [program, *arguments])
    if status:
        raise SourceError(
            f"containerd cannot read its configuration {path}: {errors.strip()[-500:]}", "Correct the configuration"
        )
    return printed
