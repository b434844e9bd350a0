# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_send_part``: receive a piece of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..errors import InputError
from ..node.partial_transfer import append_piece, read_state
from ..oci.digest import parse_digest

_MAX_SIZE = (1 << 63) - 1
"""The limit of Linux for the size of a file."""


@dataclass(frozen=True)
class SendPartSettings:
    """The settings of ``k8scr_send_part``.

    Attributes:
        path: The path of the complete file.
        size: Its size in bytes.
        digest: Its digest.
        piece: The path of a file with the piece to append; None to return the state of the file.
        offset: The offset of the piece in the file.
    """

    path: Path
    size: int
    digest: str
    piece: Path | None
    offset: int

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> SendPartSettings:
        """Return the settings in a module's parameters.

        Raises:
            InputError: A parameter is not valid.
        """
        size = _require_between("size", parameters["size"], 0, _MAX_SIZE)
        return cls(
            path=Path(parameters["dest"]),
            size=size,
            digest=parse_digest(parameters["digest"]),
            piece=Path(parameters["piece"]) if parameters["piece"] else None,
            offset=_require_between("offset", parameters["offset"], 0, size),
        )


def run_send_part(module: AnsibleModule) -> dict[str, Any]:
    """Run ``k8scr_send_part`` and return its result.

    Raises:
        K8scrError: The file cannot be read or written, or has another digest when it is complete.
    """
    settings = SendPartSettings.from_parameters(module.params)
    if settings.piece is None:
        return {"changed": False, **asdict(read_state(settings.path, settings.size, settings.digest))}
    if not module.check_mode:
        try:
            append_piece(settings.path, settings.size, settings.digest, settings.piece, settings.offset, module)
        finally:
            settings.piece.unlink(missing_ok=True)
    return {"changed": True}


def _require_between(option: str, value: int, minimum: int, maximum: int) -> int:
    if not minimum <= value <= maximum:
        raise InputError(f"{option} is {value}, which is not between {minimum} and {maximum}")
    return value
