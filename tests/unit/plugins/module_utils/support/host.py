# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with the functions of AnsibleModule that change files."""

from __future__ import annotations

import shutil
from pathlib import Path


class FakeFiles:
    """See :class:`HostFiles`."""

    def backup_local(self, fn: str) -> str:
        return shutil.copy2(fn, f"{fn}.backup")

    def atomic_move(self, src: str, dest: str) -> None:
        if Path(dest).exists():
            shutil.copymode(dest, src)
        Path(src).replace(dest)
