# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options for the progress of a task. Modules validate them, and action plugins use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..errors import InputError
from .numbers import read_number

MODES = ("auto", "lines", "none")
PROGRESS_ARGUMENT_SPEC: dict[str, Any] = {
    "progress": {"type": "str", "choices": list(MODES), "default": "auto"},
    "progress_interval": {"type": "int", "default": 5},
}
"""Argument spec of the fragment ``k8scr.core.progress``."""
_VARIABLE = "K8SCR_PROGRESS"


@dataclass(frozen=True)
class ProgressOptions:
    """How a task shows its progress.

    Attributes:
        mode: One of :data:`MODES`.
        interval: Seconds between two statuses on one host.
        fault: The fault of the environment variable, which is ignored; empty for none.
    """

    mode: str
    interval: int
    fault: str = ""

    @classmethod
    def of_task(cls, arguments: Mapping[str, Any], environment: Mapping[str, str]) -> ProgressOptions:
        """Read the options of a task.

        Args:
            arguments: The options of the task, without the defaults of the module.
            environment: The environment of the controller, whose variable sets the mode of tasks without the option.

        Raises:
            InputError: An option is invalid.
        """
        given = {name: arguments[name] for name in PROGRESS_ARGUMENT_SPEC if arguments.get(name) is not None}
        validation = ArgumentSpecValidator(PROGRESS_ARGUMENT_SPEC).validate(given)
        if validation.error_messages:
            raise InputError(validation.error_messages[0])
        options = validation.validated_parameters
        mode, fault = options["progress"], ""
        variable = environment.get(_VARIABLE)
        if variable in MODES and "progress" not in given:
            mode = variable
        elif variable and "progress" not in given:
            fault = f"{_VARIABLE} is {variable!r:.80}. The allowed values are {', '.join(MODES)}."
        return cls(mode, read_number(options, "progress_interval"), fault)
