# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules in separate processes, to measure their memory, to kill them or to run several at once."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cluster import layout
from cluster.waiting import wait_until

from .conftest import MODULES

MEMORY = 64
"""The limit of a task's resident memory in MiB, Python and its libraries included."""
PROGRAM = rf"""
import json, re, sys
from importlib import import_module
from ansible.module_utils.testing import patch_module_args
try:
    with patch_module_args(json.load(sys.stdin)):
        import_module("{MODULES}." + sys.argv[1]).main()
finally:
    print(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""
"""Runs a module and prints its peak resident memory in KiB.

getrusage() would return at least the resident memory of the test process that starts it.
"""


def peak_memory(module: str, **options: Any) -> float:
    """Return the peak resident memory of a task in MiB. The task must report a change."""
    done = subprocess.run(_command(module), input=_arguments(options), capture_output=True, text=True, check=False)
    result = json.loads(done.stdout)
    assert result.get("changed"), result.get("msg")
    return int(done.stderr.splitlines()[-1]) / 1024


def result_of(module: str, **options: Any) -> dict[str, Any]:
    """Return the result of a task."""
    done = subprocess.run(_command(module), input=_arguments(options), capture_output=True, text=True, check=False)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def kill_when(condition: Callable[[], bool], what: str, module: str, **options: Any) -> None:
    """Start a task and kill it once a condition holds.

    Args:
        condition: Returns whether the condition holds.
        what: The condition, for the message.
        module: The module's name.
        options: The module's options.

    Raises:
        AssertionError: The condition does not hold in time.
    """
    with subprocess.Popen(_command(module), stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(_arguments(options))
        process.stdin.close()
        try:
            wait_until(condition, what)
        finally:
            process.kill()


def sizes(files: Iterable[Path]) -> dict[Path, int]:
    """Return the sizes of files. Skip files that another process deletes meanwhile."""
    found = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            found[file] = file.stat().st_size
    return found


def _command(module: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, module]


def _arguments(options: dict[str, Any]) -> str:
    return json.dumps({"kubeconfig": str(layout.KUBECONFIG), **options})
