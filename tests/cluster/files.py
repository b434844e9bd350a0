# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes files atomically, and fills in the templates."""

from __future__ import annotations

import os
import string
from pathlib import Path

from . import layout


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a text file atomically: an interrupted run leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT, mode), "w") as stream:
        stream.write(text)
    temporary.replace(path)


def fill(template: str, **values: object) -> str:
    """Return the text of a template with its `$names` filled in; an unknown name is an error."""
    text = (layout.TEMPLATES / f"{template}.in").read_text(encoding="utf-8")
    return string.Template(text).substitute(values)
