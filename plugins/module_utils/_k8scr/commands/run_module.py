# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module: pass the options to a function and return its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from ansible.module_utils.basic import missing_required_lib

from .cluster_options import ClusterModule

_LIBRARIES = ("requests", "kubernetes")


def run_module(
    argument_spec: dict[str, Any], body: Callable[[Mapping[str, Any], bool], dict[str, Any]], **arguments: Any
) -> None:
    """Run a module with the options of a cluster, and exit. ``body`` takes the options and the check mode."""
    module = ClusterModule(argument_spec, supports_check_mode=True, **arguments)
    for library in _LIBRARIES:
        if find_spec(library) is None:
            module.fail_json(msg=missing_required_lib(library))
    module.run(lambda: body(module.params, module.check_mode))
