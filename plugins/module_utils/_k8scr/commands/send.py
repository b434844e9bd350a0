# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_send`` and its step ``k8scr_send_part``, which receives a piece of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..node.partial_transfer import FileTransfer
from ..oci.digest import parse_digest
from .numbers import read_number

SEND_ARGUMENT_SPEC: dict[str, Any] = {
    "src": {"type": "str", "required": True},
    "dest": {"type": "str", "required": True},
}
SEND_PART_ARGUMENT_SPEC: dict[str, Any] = {
    "dest": {"type": "path", "required": True},
    "size": {"type": "int", "required": True},
    "digest": {"type": "str", "required": True},
    "piece": {"type": "path"},
    "offset": {"type": "int", "default": 0},
}


@dataclass(frozen=True)
class SendPartSettings:
    """The options of ``k8scr_send_part``, without the piece.

    Attributes:
        file: The file to receive.
        offset: The offset of the piece in the file, in bytes.
    """

    file: FileTransfer
    offset: int

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> SendPartSettings:
        """Read the module's parameters.

        Raises:
            InputError: An option is invalid.
        """
        size, offset = read_number(options, "size"), read_number(options, "offset")
        return cls(FileTransfer(Path(options["dest"]), size, parse_digest(options["digest"])), offset)


def run_send_part(module: AnsibleModule) -> dict[str, Any]:
    """Run ``k8scr_send_part`` and return its result. The piece is deleted, also after an error.

    Raises:
        K8scrError: An option is invalid, or the file cannot be read or written.
    """
    piece = Path(module.params["piece"]) if module.params["piece"] else None
    try:
        settings = SendPartSettings.from_options(module.params)
        if piece is None:
            return {"changed": False, **asdict(settings.file.state())}
        if not module.check_mode:
            settings.file.append(piece, settings.offset, module)
        return {"changed": True}
    finally:
        if piece and not module.check_mode:
            piece.unlink(missing_ok=True)
