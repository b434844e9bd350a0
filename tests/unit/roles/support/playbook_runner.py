# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Imports ansible-playbook once, and runs it in a forked child for each line on stdin.

Most of the time of a short playbook is the import of Ansible. A line has a ``command`` and the ``folder`` in which it
runs, as JSON. The child writes to the files ``stdout`` and ``stderr`` of that folder; its exit status is printed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

from ansible.cli.playbook import PlaybookCLI

_IMPORTED_DURING_RUN = ("ansible.executor.playbook_executor", "ansible.plugins.strategy.linear")


def run(folder: str, command: list[str]) -> int:
    """Run ansible-playbook in this process and return its exit status."""
    os.chdir(folder)
    for descriptor, path in enumerate([os.devnull, "stdout", "stderr"]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
    try:
        # It ends with this exception after an error too.
        PlaybookCLI.cli_executor(command)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def main() -> None:
    """Run the commands on stdin, one after the other."""
    for module in _IMPORTED_DURING_RUN:
        importlib.import_module(module)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            status = run(request["folder"], request["command"])
            sys.stdout.flush()
            sys.stderr.flush()
            # Without the interpreter's cleanup, which deletes the parent's temporary folder.
            os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
