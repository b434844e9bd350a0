# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files in the folder of k3s or RKE2 that the role preload deletes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_role_deletes_archives_and_their_partial_files_if_absent(evaluate: Callable[..., Any]) -> None:
    archive = {"name": "app.tar", "other_name": "0a-app.tar", "shared": False}

    obsolete = evaluate(
        "preload",
        "preload_obsolete",
        preload_state="absent",
        preload_read={"archives": [archive]},
        preload_copies={"results": []},
    )

    assert set(obsolete) == {"app.tar", "0a-app.tar", ".app.tar.partial", ".0a-app.tar.partial"}
