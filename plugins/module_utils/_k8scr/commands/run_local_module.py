# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module that uses neither a cluster nor a Python library, such as the modules for nodes.

:mod:`.run_module` is separate, because it imports the transport, which nodes do not need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .redacting_module import RedactingModule


def run_local_module(
    argument_spec: dict[str, Any], command: Callable[[RedactingModule], dict[str, Any]], **arguments: Any
) -> None:
    """Run a module and exit. ``command`` takes the module."""
    module = RedactingModule(argument_spec, supports_check_mode=True, **arguments)
    module.run(lambda: command(module))
