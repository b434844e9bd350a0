# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs one module without a playbook: ``run_module.py MODULE [--without-isal]``, with the options as JSON on stdin.

Prints the module's result, then the seconds that the module took without the start of Python.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from importlib import import_module

from ansible.module_utils.testing import patch_module_args


def main() -> None:
    """Run the module."""
    if "--without-isal" in sys.argv:
        sys.modules["isal"] = None  # type: ignore[assignment]
    module = import_module(f"ansible_collections.k8scr.core.plugins.modules.{sys.argv[1]}")
    options = json.load(sys.stdin)
    started = time.monotonic()
    # The result says whether the module failed.
    with patch_module_args(options), suppress(SystemExit):
        module.main()
    print(json.dumps(time.monotonic() - started))


main()
