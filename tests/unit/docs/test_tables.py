# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables and lists in the documentation are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

COLLECTION = Path(__file__).resolve().parents[3]
GROUPS = yaml.safe_load((COLLECTION / "meta/runtime.yml").read_text())["action_groups"]
ROLES = sorted(folder.name for folder in (COLLECTION / "roles").iterdir())
GUIDES = sorted(file.stem for file in (COLLECTION / "docs/docsite/rst").glob("*.rst"))
NAME = re.compile(r"`([\w./]+)`")


def rows(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of each row below the header of the first table with a heading.

    Args:
        page: A Markdown file.
        heading: The header of the table's first column.
    """
    _before, found, table = page.read_text().partition(f"\n| {heading} |")
    assert found, f"{page} has no table with the column {heading}"
    _header, _rule, *lines = table.partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names_in(cell: str) -> list[str]:
    """Return the words of a table cell that are set as code."""
    return NAME.findall(cell)


def test_readme_lists_all_modules_roles_and_playbooks() -> None:
    listed = [name for row in rows(COLLECTION / "README.md", "name") for name in names_in(row[0])]

    modules = [file.stem for file in (COLLECTION / "plugins/modules").glob("*.py")]
    playbooks = [f"k8scr.core.{file.stem}" for file in (COLLECTION / "playbooks").glob("*.yml")]
    assert sorted(listed) == sorted([*modules, *ROLES, *playbooks])


def test_readme_lists_modules_of_action_groups() -> None:
    table = rows(COLLECTION / "README.md", "group")

    listed = {group: names_in(modules) for (group, modules, _options) in table}
    assert listed == {f"`group/k8scr.core.{group}`": sorted(modules) for group, modules in GROUPS.items()}


def test_readme_and_docsite_list_all_guides() -> None:
    linked = re.findall(r"\(docs/docsite/rst/(guide_\w+)\.rst\)", (COLLECTION / "README.md").read_text())
    sections = yaml.safe_load((COLLECTION / "docs/docsite/extra-docs.yml").read_text())["sections"]

    assert sorted(set(linked)) == GUIDES
    assert sorted(page for section in sections for page in section["toctree"]) == GUIDES


@pytest.mark.parametrize("role", ROLES)
def test_role_readme_lists_all_variables(role: str) -> None:
    listed = [name for row in rows(COLLECTION / "roles" / role / "README.md", "variable") for name in names_in(row[0])]

    specs = yaml.safe_load((COLLECTION / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]
    assert sorted(listed) == sorted(specs["main"]["options"])
