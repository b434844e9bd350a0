# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_send_part``: receive a piece of a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..node.partial_transfer import FileTransfer
from ..oci.digest import parse_digest
from .numbers import read_number


def run_send_part(module: AnsibleModule) -> dict[str, Any]:
    """Run ``k8scr_send_part`` and return its result.

    Raises:
        K8scrError: A parameter is not valid, or the file cannot be read or written.
    """
    parameters = module.params
    piece = Path(parameters["piece"]) if parameters["piece"] else None
    try:
        size, offset = read_number(parameters, "size"), read_number(parameters, "offset")
        transfer = FileTransfer(Path(parameters["dest"]), size, parse_digest(parameters["digest"]))
        if piece is None:
            return {"changed": False, **asdict(transfer.state())}
        if not module.check_mode:
            transfer.append(piece, offset, module)
        return {"changed": True}
    finally:
        if piece and not module.check_mode:
            piece.unlink(missing_ok=True)
