# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The results of the objects of ``k8scr_apply``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..objects.definitions import display_name, redact_secret, without_server_fields


@dataclass(frozen=True)
class Outcome:
    """The result of one object.

    Attributes:
        action: ``created``, ``updated``, ``unchanged`` or ``deleted``; in check mode the planned action.
        namespace: The object's namespace; None for a cluster-scoped object.
        before: The object before the action; empty if it did not exist.
        after: The object after the action; empty if it does not exist.
    """

    action: str
    definition: Mapping[str, Any]
    namespace: str | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def changed(self) -> bool:
        """Whether the object changed."""
        return self.action != "unchanged"

    @property
    def result(self) -> dict[str, Any]:
        """The entry in the module's result, without secrets."""
        return {
            "api_version": self.definition["apiVersion"],
            "kind": self.definition["kind"],
            "name": self.definition["metadata"]["name"],
            "namespace": self.namespace,
            "action": self.action,
            "object": redact_secret(without_server_fields(self.after or self.before)),
        }

    @property
    def diff(self) -> dict[str, Any]:
        """The entry for ``--diff``."""
        before, after = without_server_fields(self.before), without_server_fields(self.after)
        return {
            "before_header": self.name,
            "after_header": self.name,
            "before": redact_secret(before, after, "before"),
            "after": redact_secret(after, before, "after"),
        }

    @property
    def name(self) -> str:
        """The object's name in messages."""
        return display_name(self.definition, self.namespace)

    @property
    def line(self) -> str:
        """The line about the object while the module runs."""
        return f"{self.name} {self.action}"
