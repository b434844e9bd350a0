# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of modules have documentation and one call: everything else is in ``commands/``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

MODULES = Path(__file__).parents[4] / "plugins/modules"
COMMANDS = "ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands."


@pytest.mark.parametrize("path", sorted(MODULES.glob("k8scr_*.py")), ids=lambda path: path.stem)
def test_module_imports_commands_and_has_no_argument_spec(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    imported = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)} - {"__future__"}

    assert [name for name in imported if not name.startswith(COMMANDS)] == []
    assert [node.lineno for node in nodes if isinstance(node, ast.Dict)] == []
