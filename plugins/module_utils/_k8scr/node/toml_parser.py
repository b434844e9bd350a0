# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parser for TOML: that of Python 3.11 and newer, tomli, or the copy of tomli in pip or setuptools."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import InputError
from .checked_edit import FileFormat, KeyPath, UnparsableError
from .managed_block import ManagedFile, split_lines
from .toml_statements import read_statements

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
    """Parse a TOML file.

    Raises:
        UnparsableError: The file is not valid.
        InputError: This Python has no parser.
    """
    if _LOADS is None:
        raise InputError(
            "a TOML file with entries of administrators must be parsed, but the Python library tomli is missing for "
            f"{sys.executable}",
            "Install tomli on the node, or use Python 3.11 or newer there",
        )
    try:
        return _LOADS(text)
    except (ValueError, RecursionError) as error:
        raise UnparsableError(f"not valid TOML: {error}") from error


def managed_keys(file: ManagedFile) -> Iterator[KeyPath]:
    """Return the keys of the entries in the managed block of a TOML file, and of the disabled entries."""
    for text, managed in ((file.text, file.block), (file.unmanaged, file.disabled)):
        for statement in read_statements(split_lines(text)):
            if statement.start in managed and not statement.header:
                yield statement.path


TOML = FileFormat(parse, managed_keys)
