# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Credential plugins of kubeconfigs."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

VERSION = "client.authentication.k8s.io/v1"


def plugin(folder: Path, script: str, **fields: Any) -> dict[str, Any]:
    """Return the user entry of a kubeconfig whose credential plugin is a shell script."""
    path = folder / "login-tool"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(stat.S_IRWXU)
    return {
        "exec": {
            "apiVersion": VERSION,
            "command": str(path),
            "interactiveMode": "Never",
            "env": [{"name": "LOGIN_SECRET", "value": "canary-env"}],
            **fields,
        }
    }


def credential(**status: str) -> str:
    """Return the output of a plugin."""
    return json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": status})
