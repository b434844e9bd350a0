# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs in place of ``helm`` and ``kubectl``, as shell scripts; the live tests run the real ones."""

from __future__ import annotations

from pathlib import Path

RECORD = 'printf "%s\\n" "$@" > "$0.arguments"'
POD = """\
kind: Pod
metadata: {name: app}
spec: {containers: [{name: main, image: "nginx:1"}]}
"""


def write_program(path: Path, script: str = "", output: str = POD) -> str:
    """Write a program that records its arguments, runs a script, and prints a text. Return its path."""
    path.with_suffix(".output").write_text(output)
    path.write_text(f'#!/bin/sh\n{RECORD}\n{script}\ncat "{path.with_suffix(".output")}"\n')
    path.chmod(0o755)
    return str(path)


def arguments_of(program: str) -> list[str]:
    """Return the arguments of the program's last run."""
    return Path(f"{program}.arguments").read_text().splitlines()
