# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The format TOML, parsed by Python 3.11 and newer, or by tomli or the copy of it in pip or setuptools."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import InputError
from .checked_edit import Format, KeyPath, UnparsableError
from .managed_block import Marked, split_lines
from .toml_text import read_statements

_PARSERS = ("tomllib", "tomli", "pip._vendor.tomli", "setuptools._vendor.tomli")
_Loads = Callable[[str], dict[str, Any]]


def _find_parser() -> _Loads | None:
    for name in _PARSERS:
        try:
            loads: _Loads = importlib.import_module(name).loads
        except ImportError:
            continue
        return loads
    return None


_LOADS = _find_parser()


def parse(text: str) -> dict[str, Any]:
    """Return the meaning of a TOML file.

    Raises:
        UnparsableError: It is not valid.
        InputError: This Python has no parser.
    """
    if _LOADS is None:
        raise InputError(
            "a TOML file with entries of administrators can be changed only where it can be parsed, and the Python "
            f"library tomli is missing for {sys.executable}",
            "Install tomli on the node, or use Python 3.11 or newer there",
        )
    try:
        return _LOADS(text)
    except (ValueError, RecursionError) as error:
        raise UnparsableError(f"not valid TOML: {error}") from error


def own_paths(marked: Marked) -> Iterator[KeyPath]:
    """Return the entries that the managed block of a TOML file sets, and those that were set aside for it."""
    for text, ours in ((marked.text, marked.block), (marked.others, marked.aside)):
        for statement in read_statements(split_lines(text)):
            if statement.start in ours and not statement.header:
                yield statement.path


TOML = Format(parse, own_paths)
