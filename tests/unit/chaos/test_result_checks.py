# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of a module's result in the campaigns with faults."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from chaos.checks import FaultOutcome, check_result

INJECTED: Any = SimpleNamespace(expected_error="connection reset")
LINE = "app:1: connection reset"


def problems_of(message: str, **result: Any) -> list[str]:
    """Return what the check says of a failed result."""
    outcome = FaultOutcome(number=0)
    run: Any = SimpleNamespace(hung=False, stderr="", result={"failed": True, "msg": message, **result})
    check_result(outcome, run, [INJECTED])
    return outcome.problems


@pytest.mark.parametrize(
    ("lines", "result"),
    [
        (1, {}),
        (2, {"images": [{"error": LINE}, {"image": "app:2"}]}),
        (2, {"errors": [LINE]}),
        (5, {"images": [{"error": LINE}, {"error": LINE}]}),
        (4, {"errors": [LINE, LINE]}),
    ],
)
def test_error_has_lines_for_failed_images_and_steps_and_what_they_share(lines: int, result: dict[str, Any]) -> None:
    longest, longer = "\n".join([LINE] * lines), "\n".join([LINE] * (lines + 1))

    assert problems_of(longest, **result) == []
    assert problems_of(longer, **result) == [
        f"the error has more than one line for each failed image or step: {longer}"
    ]
