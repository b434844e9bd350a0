# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures that run parts of the roles with ansible-playbook, without a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
RUNNER = Path(__file__).parent / "support/playbook_runner.py"
Plays = Callable[..., subprocess.CompletedProcess[str]]
Evaluate = Callable[..., Any]
Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def playbooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A process that runs ansible-playbook with the collection, without the user's configuration."""
    configuration = tmp_path_factory.mktemp("ansible") / "ansible.cfg"
    configuration.touch()
    environment = {**os.environ, "ANSIBLE_CONFIG": str(configuration), "ANSIBLE_NOCOLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-P", str(RUNNER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process


@pytest.fixture
def run_plays(tmp_path: Path, playbooks: subprocess.Popen[str]) -> Plays:
    """Runs plays on hosts of the local machine and returns the ended process."""

    def run(
        *plays: Mapping[str, Any], options: Sequence[str] = (), hosts: int = 1, **variables: Any
    ) -> subprocess.CompletedProcess[str]:
        defaults = {"hosts": "all", "gather_facts": False}
        playbook = [play if "import_playbook" in play else {**defaults, **play} for play in plays]
        (tmp_path / "play.yml").write_text(json.dumps(playbook))
        connection = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = {"all": {"vars": connection, "hosts": {f"node-{number}": {} for number in range(hosts)}}}
        (tmp_path / "inventory.yml").write_text(json.dumps(inventory))
        command = ["ansible-playbook", "-i", "inventory.yml", "play.yml", f"--forks={hosts}", *options]
        command.append(f"--extra-vars={json.dumps(variables)}")
        assert playbooks.stdin
        assert playbooks.stdout
        print(json.dumps({"folder": str(tmp_path), "command": command}), file=playbooks.stdin, flush=True)
        status = int(playbooks.stdout.readline())
        return subprocess.CompletedProcess(
            command, status, (tmp_path / "stdout").read_text(), (tmp_path / "stderr").read_text()
        )

    return run


@pytest.fixture
def evaluate(run_plays: Plays, tmp_path: Path) -> Evaluate:
    """Returns the value of an expression with a role's variables and templates."""

    def value(role: str, expression: str, **variables: Any) -> Any:
        for folder in ("files", "templates"):
            (tmp_path / folder).symlink_to(ROLES / role / folder)
        files = [str(ROLES / role / folder / "main.yml") for folder in ("defaults", "vars")]
        tasks = [{"ansible.builtin.debug": {"msg": f"value: {{{{ {expression} | to_json }}}}"}}]
        done = run_plays({"vars_files": files, "tasks": tasks}, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        result = json.loads(done.stdout[done.stdout.index("{") : done.stdout.rindex("}") + 1])
        return json.loads(result["msg"].removeprefix("value: "))

    return value


@pytest.fixture
def render(evaluate: Evaluate) -> Render:
    """Returns the objects in templates of a role."""

    def objects(role: str, *templates: str, **variables: Any) -> list[dict[str, Any]]:
        lookups = ", ".join(f"lookup('ansible.builtin.template', '{template}')" for template in templates)
        texts = evaluate(role, f"[{lookups}]", **variables)
        return [definition for text in texts for definition in yaml.safe_load_all(text) if definition]

    return objects
