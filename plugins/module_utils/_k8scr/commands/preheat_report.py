# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of ``k8scr_preheat``: which node has which image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ClusterError, failure_lines
from ..objects.nodes import Node
from ..transfer.texts import counted, seconds_text

PRESENT, PULLED, FAILED = "present", "pulled", "failed"
_CORDONED = "the node is cordoned"
_COLUMNS = ("NODE", "IMAGE", "RESULT", "SECONDS", "REASON")


@dataclass(frozen=True)
class PreheatRow:
    """The result of one image on one node.

    Attributes:
        result: ``present``, ``pulled`` or ``failed``.
        seconds: The seconds of the pull; 0 if the image was present.
        reason: Why it failed, and what is special about the node; empty if there is nothing to say.
    """

    node: str
    image: str
    result: str
    seconds: float = 0.0
    reason: str = ""

    @classmethod
    def of_unready(cls, node: Node, image: str, seconds: float = 0.0) -> PreheatRow:
        """Return the row of an image that a node does not pull because it is not ready."""
        return cls(node.name, image, FAILED, seconds, f"the node is not ready: {node.unready}").on(node)

    @classmethod
    def of_mismatch(cls, node: Node, image: str, reason: str) -> PreheatRow:
        """Return the row of an image that a node does not pull because their platforms differ."""
        return cls(node.name, image, FAILED, 0.0, reason).on(node)

    def on(self, node: Node) -> PreheatRow:
        """Return the row with the properties of its node that matter."""
        if not node.is_cordoned:
            return self
        return replace(self, reason=f"{self.reason}; {_CORDONED}" if self.reason else _CORDONED)

    @property
    def line(self) -> str:
        """The line about the row while the module runs."""
        end = f": {self.reason}" if self.reason else ""
        return f"{self.image} on {self.node} {self.result} ({seconds_text(self.seconds)}){end}"

    @property
    def entry(self) -> dict[str, Any]:
        """The entry in the module's result."""
        return {
            "node": self.node,
            "image": self.image,
            "result": self.result,
            "seconds": round(self.seconds, 3),
            "reason": self.reason,
        }


def report(rows: Iterable[PreheatRow]) -> dict[str, Any]:
    """Return the result of the module for all rows, with ``failed`` and ``msg`` if any failed."""
    ordered = sorted(rows, key=lambda row: (row.node, row.image))
    failed = [row for row in ordered if row.result == FAILED]
    lines = failure_lines((f"{row.image} on {row.node}", ClusterError(row.reason)) for row in failed)
    summary = f"{counted(len(failed), 'pull')} of {len(ordered)} failed:"
    failure = {"failed": True, "msg": "\n".join([summary, *lines])} if failed else {}
    return {
        "changed": any(row.result == PULLED for row in ordered),
        "report": [row.entry for row in ordered],
        "table": _table(ordered),
        **failure,
    }


def _table(rows: Sequence[PreheatRow]) -> list[str]:
    """Return the rows as the lines of a table."""
    cells = [_COLUMNS, *((row.node, row.image, row.result, f"{row.seconds:.1f}", row.reason) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_COLUMNS) - 1)]
    return ["  ".join([*(text.ljust(width) for text, width in zip(line, widths)), line[-1]]).rstrip() for line in cells]
