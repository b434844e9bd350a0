# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_send`` and its step ``k8scr_send_part``, which receives a piece of a file."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..files.file_access import exists
from ..node.partial_transfer import FileTransfer, free_space
from ..oci.digest import parse_digest
from .numbers import read_number
from .progress_options import PROGRESS_ARGUMENT_SPEC

SEND_ARGUMENT_SPEC: dict[str, Any] = {
    "src": {"type": "str", "required": True},
    "dest": {"type": "str", "required": True},
    **PROGRESS_ARGUMENT_SPEC,
}
SEND_PART_ARGUMENT_SPEC: dict[str, Any] = {
    "dest": {"type": "path", "required": True},
    "size": {"type": "int", "required": True},
    "digest": {"type": "str", "required": True},
    "piece": {"type": "path"},
    "piece_dir": {"type": "path"},
    "offset": {"type": "int", "default": 0},
}


def run_send_part(module: AnsibleModule) -> dict[str, Any]:
    """Run ``k8scr_send_part`` and return its result. The piece is deleted, also after an error, if that is allowed.

    Raises:
        K8scrError: An option is invalid, or the file cannot be read or written.
    """
    options = module.params
    piece = Path(options["piece"]) if options["piece"] else None
    try:
        size, offset = read_number(options, "size"), read_number(options, "offset")
        file = FileTransfer(Path(options["dest"]), size, parse_digest(options["digest"]))
        if piece is None:
            result = {"changed": False, **asdict(file.state())}
        else:
            result = {"changed": True}
            if not module.check_mode:
                file.append(piece, offset, module)
    finally:
        if piece and not module.check_mode:
            # With become to an unprivileged user, the folder of the piece belongs to the user who connects. The next
            # piece replaces this one, and Ansible deletes the folder at the end of the task.
            with suppress(OSError):
                piece.unlink()
    if options["piece_dir"]:
        remaining = piece.stat().st_size if piece and exists(piece) else 0
        result["piece_room"] = free_space(Path(options["piece_dir"])) + remaining
    return result
