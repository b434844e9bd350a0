# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules accept the tasks in the documentation."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.testing import patch_module_args

COLLECTION = Path(__file__).resolve().parents[3]
PREFIX = "k8scr.core."
# The modules that connect to a cluster.
GROUP = yaml.safe_load((COLLECTION / "meta/runtime.yml").read_text())["action_groups"]["k8scr"]
MARKDOWN = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
RESTRUCTURED = re.compile(r"^\.\. code-block:: yaml\n\n((?:    .*\n|\n)+)", re.MULTILINE)
# Ansible's messages about invalid options of a task.
WRONG = ("Unsupported parameters", "missing required", "mutually exclusive", "must be one of", "required: one of")


def texts() -> Iterator[tuple[str, str]]:
    """Yield the name of the source and the text of every YAML example in the documentation."""
    for module in sorted((COLLECTION / "plugins/modules").glob("*.py")):
        examples = import_module(f"ansible_collections.k8scr.core.plugins.modules.{module.stem}").EXAMPLES
        yield module.name, examples
    for page in [COLLECTION / "README.md", *sorted(COLLECTION.glob("roles/*/README.md"))]:
        for text in MARKDOWN.findall(page.read_text()):
            yield str(page.relative_to(COLLECTION)), text
    for guide in sorted(COLLECTION.glob("docs/docsite/rst/*.rst")):
        for text in RESTRUCTURED.findall(guide.read_text()):
            yield guide.name, textwrap.dedent(text)


def tasks() -> Iterator[Any]:
    """Yield every task of the collection in the examples."""
    for source, text in texts():
        for task in _tasks(yaml.safe_load(text)):
            yield pytest.param(task, id=f"{source}: {task['name']}")


def _tasks(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for part in value:
            yield from _tasks(part)
    elif isinstance(value, dict):
        if any(key.startswith(PREFIX) for key in value):
            yield value
        for key in ("tasks", "block", "always"):
            yield from _tasks(value.get(key))


@pytest.mark.parametrize("task", list(tasks()))
def test_module_accepts_documented_task(
    task: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Hide the clients of container runtimes: ctr waits ten seconds for a missing containerd.
    monkeypatch.setenv("PATH", str(tmp_path))
    (module,) = (key for key in task if key.startswith(PREFIX))
    name = module.removeprefix(PREFIX)
    options = task[module] or {}
    if name in GROUP:
        options = {"kubeconfig": str(tmp_path / "none"), **options}
    if not (COLLECTION / "plugins/modules" / f"{name}.py").exists():
        pytest.fail(f"module {module} does not exist")

    code = import_module(f"ansible_collections.k8scr.core.plugins.modules.{name}")
    if hasattr(code, "main"):
        with patch_module_args({"_ansible_check_mode": True, **options}), pytest.raises(SystemExit):
            code.main()
        message = json.loads(capsys.readouterr().out).get("msg", "")
    else:
        # An action plugin implements the module. Running it would need a controller, so only validate the options.
        documented = yaml.safe_load(code.DOCUMENTATION)["options"]
        spec = {option: {key: text[key] for key in ("type", "required")} for option, text in documented.items()}
        message = " ".join(ArgumentSpecValidator(spec).validate(options).error_messages)

    assert not any(words in message for words in WRONG), message
