# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs kubectl as the cluster's administrator."""

from __future__ import annotations

import subprocess

from . import layout


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as the cluster's administrator and return its output."""
    command = [str(layout.BIN / "kubectl"), f"--kubeconfig={layout.KUBECONFIG}", *arguments]
    return subprocess.run(command, input=stdin, check=True, stdout=subprocess.PIPE, text=True).stdout
