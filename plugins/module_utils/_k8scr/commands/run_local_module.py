# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module that uses neither a cluster nor a Python library, such as the modules for nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import K8scrError
from .redacting_module import RedactingModule


def run_local_module(
    argument_spec: dict[str, Any], command: Callable[[RedactingModule], dict[str, Any]], **rest: Any
) -> None:
    """Run a module and exit.

    Args:
        argument_spec: The options.
        command: Runs with the module, and returns its result.
        **rest: See :class:`AnsibleModule`.
    """
    module = RedactingModule(argument_spec, supports_check_mode=True, **rest)
    try:
        result = command(module)
    except K8scrError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)
