# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An Ansible module that shows no secret among its options, also when the options are not valid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..redaction import SHORTEST, hidden_values, redacted


class RedactingModule(AnsibleModule):
    """Show options by their argument spec, and nothing that is not in it.

    Ansible masks the values of ``no_log`` options only once all options are valid, and knows no secrets inside
    structured options. This class hides them in ``invocation`` and in the log, whatever the options look like. An
    unknown option is hidden too: it may be the misspelt name of a secret one.

    Args:
        argument_spec: The module's options.
        redact: For each structured option with secrets, a function that returns what may be shown of its value.
        **rest: As :class:`AnsibleModule` takes.
    """

    def __init__(
        self, argument_spec: dict[str, Any], redact: Mapping[str, Callable[[Any], Any]] | None = None, **rest: Any
    ) -> None:
        self.params: dict[str, Any] = {}
        self._redact = redact or {}
        self._valid = False
        super().__init__(argument_spec, **rest)

    def exit_json(self, **result: Any) -> None:
        """Return the result with the redacted options; see :meth:`AnsibleModule.exit_json`."""
        super().exit_json(**{"invocation": self._invocation(), **result})

    def fail_json(self, msg: str, **result: Any) -> None:
        """Return the failure with the redacted options; see :meth:`AnsibleModule.fail_json`."""
        invocation = self._invocation()
        if not self._valid:
            # Messages about invalid options quote values. Later messages are the collection's own.
            hidden = hidden_values(self.params, invocation["module_args"])
            self.no_log_values.update(text for text in hidden if len(text) >= SHORTEST)
        super().fail_json(msg, **{"invocation": invocation, **result})

    def _log_invocation(self) -> None:
        self._valid = True
        given = self.params
        self.params = self._invocation()["module_args"]
        try:
            super()._log_invocation()
        finally:
            self.params = given

    def _invocation(self) -> dict[str, Any]:
        return {"module_args": redacted(self.params, self.argument_spec, self._redact)}
