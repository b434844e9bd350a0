# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible modules that hide the secrets in their options, even if the options are invalid."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.parameters import remove_values

from ..errors import K8scrError
from ..files.progress_file import VARIABLE, ProgressFile
from ..redaction import HIDDEN, SHORTEST, hidden_values, passwords_in, redacted, without_passwords
from ..transfer.progress import SILENT, Progress
from .numbers import read_number

_NUMBERS_END = 1 << 64
_LOCATIONS = ("charts", "dest", "docker_host", "endpoint", "images", "registry_image", "since", "src", "upstreams")
"""The options that name images, registries and files. A user may write credentials before the host of a registry."""

_IMAGES = ("images", "registry_image")
"""The options whose texts are no relative paths."""


class RedactingModule(AnsibleModule):
    """A module that shows only options in its argument spec.

    Ansible masks the values of ``no_log`` options only after it has validated all options, and does not find secrets
    inside structured options. This class hides them in ``invocation`` and in the log, even if the options are invalid.
    It hides unknown options too: an unknown name may be a misspelled secret option. It masks the
    passwords in names and locations of images wherever a result repeats them.

    Args:
        redact: For each structured option with secrets, a function that returns the printable value.
        empty_result: The values that are always returned, as a failure returns them that has no others. Invalid
            options are such a failure.
    """

    def __init__(
        self,
        argument_spec: dict[str, Any],
        redact: Mapping[str, Callable[[Any], Any]] | None = None,
        empty_result: Mapping[str, Any] | None = None,
        **rest: Any,
    ) -> None:
        self._empty_result = empty_result or {}
        self.params: dict[str, Any] = {}
        self._redact = redact or {}
        self._valid = False
        self._progress_file: ProgressFile | None = None
        super().__init__(argument_spec, **rest)

    def run(self, command: Callable[[], dict[str, Any]]) -> None:
        """Exit with the result of a command, or with its error; a result with ``failed`` is an error too."""
        try:
            if "progress_interval" in self.params:
                read_number(self.params, "progress_interval")
            result = command()
        except K8scrError as error:
            self.fail_json(msg=str(error), **error.values)
        if result.pop("failed", False):
            self.fail_json(**result)
        self.exit_json(**result)

    def require(self, libraries: Iterable[str]) -> None:
        """Fail if a Python library is missing."""
        for library in libraries:
            if find_spec(library) is None:
                self.fail_json(msg=missing_required_lib(library))

    @cached_property
    def progress(self) -> Progress:
        """The progress of the module. It is shown if the action plugin set the environment variable with the file."""
        path = os.environ.get(VARIABLE, "")
        # Plugins that start modules in other ways, such as Mitogen, leave the name of the job that the action wrote.
        if not Path(path).is_absolute():
            return SILENT
        self._mask_passwords()
        self._progress_file = ProgressFile(path)
        return Progress(self._progress_file.write, self._masked_text)

    def add_path_info(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the result as it is. Ansible adds the owner, mode and size of a file to a result with ``dest``."""
        return kwargs

    def exit_json(self, **result: Any) -> None:
        """Return the result with the redacted options; see :meth:`AnsibleModule.exit_json`."""
        self._mask_passwords()
        self._warn_of_progress()
        super().exit_json(**self._masked({"invocation": self._invocation(), **result}))

    def fail_json(self, msg: str, **result: Any) -> None:
        """Return the failure with the redacted options; see :meth:`AnsibleModule.fail_json`."""
        invocation = self._invocation()
        if not self._valid:
            # Ansible's messages about invalid options quote values.
            self._mask(hidden_values(self.params, invocation["module_args"]))
        self._mask_passwords()
        self._warn_of_progress()
        values = {"msg": without_passwords(msg), "invocation": invocation, **self._empty_result, **result}
        super().fail_json(**self._masked(values))

    def _log_invocation(self) -> None:
        self._valid = True
        self._reject_unusable()
        given = self.params
        self.params = self._invocation()["module_args"]
        try:
            super()._log_invocation()
        finally:
            self.params = given

    def _masked_text(self, text: str) -> str:
        return str(self._masked({"text": without_passwords(text)})["text"])

    def _warn_of_progress(self) -> None:
        if self._progress_file and self._progress_file.error:
            self.warn(f"The progress of the task cannot be shown: {self._progress_file.error}")

    def _mask_passwords(self) -> None:
        # Other values of structured options, such as those of charts, are hidden or are no locations.
        given = {name: self.params.get(name) for name in _LOCATIONS}
        locations = {
            name: self._redact[name](value) if name in self._redact else value for name, value in given.items()
        }
        for name, value in locations.items():
            self._mask(passwords_in(value, name in _IMAGES))

    def _mask(self, texts: Iterable[str]) -> None:
        self.no_log_values.update(text for text in texts if len(text) >= SHORTEST)

    def _masked(self, result: dict[str, Any]) -> dict[str, Any]:
        """Mask the longest values first: the rest of a value that contains another one would be shown otherwise.

        ansible-core 2.17 masks them in any order.
        """
        masked: dict[str, Any] = remove_values(result, sorted(self.no_log_values, key=len, reverse=True))
        return masked

    def _reject_unusable(self) -> None:
        """Fail if an option has a value that neither a file name nor a request nor Ansible's log can contain."""
        found = {name: _fault(value, self.argument_spec.get(name, {})) for name, value in self.params.items()}
        faults = {name: fault for name, fault in found.items() if fault}
        if faults:
            self.params.update(dict.fromkeys(faults, HIDDEN))
            self.fail_json(msg="; ".join(f"{name} {fault}" for name, fault in faults.items()))

    def _invocation(self) -> dict[str, Any]:
        return {"module_args": redacted(self.params, self.argument_spec, self._redact)}


def _fault(value: Any, option: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the value of an option, if no module can use it."""
    if isinstance(value, str):
        if not value and option.get("required"):
            return "is empty"
        if "\0" in value:
            return "contains a NUL character"
        if any("\ud800" <= character <= "\udfff" for character in value):
            return "contains bytes that are not UTF-8"
    elif isinstance(value, int) and abs(value) >= _NUMBERS_END:
        return "has a number of more than 64 bits"
    elif isinstance(value, Mapping):
        return next(filter(None, (_fault(part, {}) for item in value.items() for part in item)), None)
    elif isinstance(value, (list, tuple)):
        # An empty path would be the current folder.
        if option.get("elements") == "path" and "" in value:
            return "has an empty entry"
        return next(filter(None, (_fault(item, {}) for item in value)), None)
    return None


def run_local_module(
    argument_spec: dict[str, Any],
    command: Callable[[RedactingModule], dict[str, Any]],
    libraries: Sequence[str] = (),
    **arguments: Any,
) -> None:
    """Run a module that uses no cluster, and exit. ``command`` takes the module.

    Args:
        libraries: The Python libraries that it needs.
    """
    module = RedactingModule(argument_spec, supports_check_mode=True, **arguments)
    module.require(libraries)
    module.run(lambda: command(module))
