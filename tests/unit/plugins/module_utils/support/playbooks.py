# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbooks with a module that reports progress."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unit.plugins.module_utils.support.terminal import Terminal, run_in_terminal

MODULE = """
import os, time
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import progress_options
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.progress_file import (
    VARIABLE, Message, ProgressFile
)

def main():
    own = {"steps": {"type": "list", "elements": "dict"}, "fail": {"type": "bool"}}
    module = AnsibleModule({**own, **progress_options.PROGRESS_ARGUMENT_SPEC}, supports_check_mode=True)
    path = os.environ.get(VARIABLE)
    file = ProgressFile(path) if path else None
    for step in module.params["steps"]:
        (kind, value), = step.items()
        if kind == "wait":
            time.sleep(float(value))
        elif file and kind == "raw":
            with open(path, "ab") as raw:
                raw.write(value.encode() + b"\\n")
        elif file and kind == "delete":
            os.unlink(path)
        elif file:
            file.write(Message(value, lasting=kind == "line"))
    if module.params["fail"]:
        module.fail_json(msg="the module failed")
    module.exit_json(changed=True, reported=bool(path))

main()
"""
"""A module that performs its steps, of the kinds ``wait``, ``status``, ``line``, ``raw`` and ``delete``."""
ACTION = """
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.progress_action import ProgressAction

class ActionModule(ProgressAction):
    pass
"""
FULL_DISK_ACTION = f"""
import tempfile
{ACTION}
    def run(self, tmp=None, task_vars=None):
        tempfile.TemporaryDirectory = fail
        return super().run(tmp, task_vars)

def fail(**arguments):
    raise OSError(28, "No space left on device")
"""
"""The action of a controller without space for temporary folders."""
OTHER_VERSION_ACTION = f"""
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr import task_display
{ACTION}
    def run(self, tmp=None, task_vars=None):
        task_display.context = None
        return super().run(tmp, task_vars)
"""
"""The action with a version of ansible-core that has other attributes."""
SLOW_ACTION = f"""
import time
from pathlib import Path
from ansible.utils.display import Display
{ACTION}
    def run(self, tmp=None, task_vars=None):
        display = Display.display

        def slow_display(*arguments, **keywords):
            display(*arguments, **keywords)
            time.sleep(1)
            Path("displayed").touch()

        Display.display = slow_display
        return super().run(tmp, task_vars)
"""
"""The action of a controller that needs a second after each displayed text. Then it creates the file ``displayed``."""
DISTANT_CONNECTION = """
from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = '''
name: distant
short_description: This host, as another one
extends_documentation_fragment: [connection_pipelining]
'''

class Connection(Local):
    transport = "distant"
"""
JSON_CALLBACK = """
import json
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_TYPE, CALLBACK_NAME = "stdout", "json"

    def __init__(self):
        super().__init__()
        self.results = []

    def v2_runner_on_ok(self, result):
        self.results.append({"task": result._task.get_name(), "result": result._result})

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.v2_runner_on_ok(result)

    def v2_playbook_on_stats(self, stats):
        self._display.display(json.dumps(self.results, default=str))
"""
"""A callback that prints the results as JSON, as ``ansible.posix.json``."""
AWX_CALLBACK = """
import json, os
from functools import wraps
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.display import Display
from ansible.utils.multiprocessing import context

DOCUMENTATION = '''
name: awx_display
type: stdout
short_description: The default callback, with an event for each output
extends_documentation_fragment: [default_callback]
'''

def display_with_context(function):
    @wraps(function)
    def wrapper(*args, **kwargs):
        if context.parent_process() is not None:
            return function(*args, **kwargs)
        with open(os.environ["EVENTS"], "a") as events:
            events.write(json.dumps({"text": args[1], **kwargs}) + "\\n")
        return function(*args, **kwargs)
    return wrapper

Display.display = display_with_context(Display.display)

class CallbackModule(Default):
    CALLBACK_NAME = "awx_display"
"""
"""A callback that makes an event of each output, as ``awx_display`` of ansible-runner."""


class Playbooks:
    """Runs playbooks on hosts of the local connection. The module ``talk`` reports progress.

    Args:
        folder: A folder for the files of Ansible.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.local_tmp = folder / "local_tmp"
        files = {
            "library/talk.py": MODULE,
            "library/talk_without_space.py": MODULE,
            "library/talk_otherwise.py": MODULE,
            "library/talk_slowly.py": MODULE,
            "action_plugins/talk.py": ACTION,
            "action_plugins/talk_without_space.py": FULL_DISK_ACTION,
            "action_plugins/talk_otherwise.py": OTHER_VERSION_ACTION,
            "action_plugins/talk_slowly.py": SLOW_ACTION,
            "connection_plugins/distant.py": DISTANT_CONNECTION,
            "json/json.py": JSON_CALLBACK,
            "awx/awx_display.py": AWX_CALLBACK,
        }
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        self.environment = {
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_LOCAL_TEMP": str(self.local_tmp),
            "ANSIBLE_REMOTE_TEMP": str(folder / "remote_tmp"),
            "ANSIBLE_ASYNC_DIR": str(folder / "async"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_LIBRARY": str(folder / "library"),
            "ANSIBLE_ACTION_PLUGINS": str(folder / "action_plugins"),
            "ANSIBLE_CONNECTION_PLUGINS": str(folder / "connection_plugins"),
            "ANSIBLE_CALLBACK_PLUGINS": str(folder / "json"),
            "ANSIBLE_PIPELINING": "true",
            "PYTHONUNBUFFERED": "1",
        }

    def command(self, plays: list[dict[str, Any]], hosts: str = "one,", *arguments: str) -> list[str]:
        """Return the command that runs plays."""
        # JSON is YAML.
        defaults = {"hosts": "all", "gather_facts": False, "connection": "local"}
        playbook = self.folder / "playbook.yml"
        playbook.write_text(json.dumps([{**defaults, **play} for play in plays]))
        return [str(Path(sys.executable).with_name("ansible-playbook")), "-i", hosts, str(playbook), *arguments]

    def in_terminal(
        self, plays: list[dict[str, Any]], *arguments: str, hosts: str = "one,", **environment: str
    ) -> Terminal:
        """Run plays on a terminal."""
        command = self.command(plays, hosts, *arguments)
        return run_in_terminal(command, {**self.environment, **environment}, cwd=self.folder)

    def in_pipe(
        self, plays: list[dict[str, Any]], *arguments: str, hosts: str = "one,", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run plays with their output in pipes."""
        return self.run(self.command(plays, hosts, *arguments), environment)

    def run(self, command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a program of Ansible with its output in pipes."""
        variables = {**os.environ, **self.environment, **environment}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder, env=variables)
        # 2 is the status after a failed task.
        assert done.returncode in (0, 2), done.stderr
        return done


def talk(*steps: tuple[str, Any], name: str = "Talk", **keywords: Any) -> dict[str, Any]:
    """Return a task with the module ``talk``. Options of the module that are no steps are in ``options``."""
    options = keywords.pop("options", {})
    module = keywords.pop("module", "talk")
    return {"name": name, module: {"steps": [dict([step]) for step in steps], **options}, **keywords}
