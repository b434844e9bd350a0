# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules, options, return values and variables that the guides name exist. ``antsibull-docs`` reads no guides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.k8scr.core.plugins import doc_fragments

COLLECTION = Path(__file__).resolve().parents[3]
GUIDES = sorted((COLLECTION / "docs/docsite/rst").glob("*.rst"))
REFERENCE = re.compile(r"\b(M|O|RV)\(k8scr\.core\.(\w+)#module(?::([\w.\[\]]+))?(?:=[^)]*)?\)")
VARIABLE = re.compile(r"\b(?:registry|node_mirror|preheat|preload)_[a-z0-9_]+\b")
# What the keys of options and return values contain.
NESTED = {"O": "suboptions", "RV": "contains"}


def references() -> Iterator[Any]:
    """Yield the references in all guides: the kind, the module, and the name of the option or return value."""
    for guide in GUIDES:
        for kind, module, name in sorted(set(REFERENCE.findall(guide.read_text()))):
            yield pytest.param(kind, module, name, id=f"{guide.stem}: {kind} {module} {name}")


def documented(kind: str, module: str) -> Mapping[str, Any]:
    """Return the documented options of a module, or with the kind RV its return values."""
    code = import_module(f"ansible_collections.k8scr.core.plugins.modules.{module}")
    if kind == "RV":
        return dict(yaml.safe_load(code.RETURN))
    documentation = yaml.safe_load(code.DOCUMENTATION)
    options = dict(documentation["options"])
    for fragment in documentation["extends_documentation_fragment"]:
        _collection, name, *section = fragment.removeprefix("k8scr.").split(".")
        texts = import_module(f"{doc_fragments.__name__}.{name}").ModuleDocFragment
        text = getattr(texts, section[0].upper() if section else "DOCUMENTATION")
        options |= yaml.safe_load(text).get("options", {})
    return options


@pytest.mark.parametrize(("kind", "module", "name"), list(references()))
def test_reference_in_guide_exists(kind: str, module: str, name: str) -> None:
    entries: Any = documented(kind, module)

    for key in name.replace("[]", "").split("."):
        if kind != "M":
            assert key in entries, f"{module} has no {name}"
            entries = entries[key].get(NESTED[kind], {})


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: str(guide.stem))
def test_variable_in_guide_exists(guide: Path) -> None:
    specs = COLLECTION.glob("roles/*/meta/argument_specs.yml")
    variables = {
        name for spec in specs for name in yaml.safe_load(spec.read_text())["argument_specs"]["main"]["options"]
    }
    options = {"registry_port", "registry_scheme"}

    assert set(VARIABLE.findall(guide.read_text())) <= variables | options
