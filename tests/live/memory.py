# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much memory a task has."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from cluster import layout

from .conftest import MODULES

MEMORY = 64
"""MiB that a task may have resident, Python and its libraries included."""
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
"""What getrusage says instead would be no less than what the tests themselves have resident, which start it."""


def memory_of(module: str, **options: Any) -> float:
    """MiB that a task had resident at most; it must have changed something."""
    arguments = json.dumps({"kubeconfig": str(layout.KUBECONFIG), **options})
    command = [sys.executable, "-c", PROGRAM, module]
    done = subprocess.run(command, input=arguments, capture_output=True, text=True, check=False)
    result = json.loads(done.stdout)
    assert result.get("changed"), result.get("msg")
    return int(done.stderr.splitlines()[-1]) / 1024
