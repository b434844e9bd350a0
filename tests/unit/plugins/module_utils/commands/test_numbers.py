# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bounds of the numeric options of all modules."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.numbers import BOUNDS, read_number
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.registry_settings import (
    REGISTRY_ARGUMENT_SPEC,
    registry_settings,
)
from unit.plugins.module_utils.support.images import Image, write_layout
from unit.plugins.module_utils.support.module_runs import MODULES, run_module, spec_of
from unit.plugins.module_utils.support.settings import module_options


def numeric_options() -> Iterator[tuple[str, str]]:
    """Yield the numeric options, each with its module."""
    for module in MODULES:
        yield from (
            (module, name) for name, option in spec_of(module).items() if option["type"] in ("int", "float", "bytes")
        )


NUMERIC = list(numeric_options())
NUMBERS = {name: BOUNDS[name] for module, name in NUMERIC if module == "k8scr_push"}


def test_every_numeric_option_has_bounds() -> None:
    assert {name for _module, name in NUMERIC} == set(BOUNDS)


def out_of_bounds() -> Iterator[tuple[str, str, int]]:
    """Yield numbers below and above the bounds. Ansible itself rejects negative numbers of bytes."""
    for module, option in NUMERIC:
        smallest, largest = BOUNDS[option]
        yield module, option, largest + 1
        if option not in ("bandwidth", "chunk_size", "minimum_rate"):
            yield module, option, smallest - 1


@pytest.mark.parametrize(("module", "option", "value"), list(out_of_bounds()))
def test_module_error_names_allowed_range_for_number_out_of_bounds(
    module: str, option: str, value: int, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_module(module, capsys, **{option: value})

    smallest, largest = BOUNDS[option]
    assert result["msg"] == f"{option} is {value}. The allowed range is {smallest} to {largest}."


@pytest.mark.parametrize("end", [0, 1], ids=["smallest", "largest"])
@pytest.mark.parametrize("option", BOUNDS)
def test_number_at_its_bound_is_accepted(option: str, end: int) -> None:
    number = BOUNDS[option][end]

    assert read_number({option: number}, option) == number


@pytest.mark.parametrize(
    "options", [{"connections": 1}, {name: largest for name, (_least, largest) in NUMBERS.items()}]
)
def test_push_succeeds_with_numbers_at_their_bounds(
    push: Callable[..., dict[str, Any]], large_image: Image, tmp_path: Path, options: dict[str, int]
) -> None:
    layout = write_layout(tmp_path / "layout", {"docker.io/team/app:1": large_image})

    result = push(f"oci:{layout}", **options)

    assert "msg" not in result


@pytest.mark.parametrize("option", [name for name in BOUNDS if name.endswith("timeout")])
def test_longest_timeout_is_one_that_sockets_can_wait(option: str) -> None:
    # poll(2) takes milliseconds as a C int. With 4294968 seconds, Python's sockets time out after 0.7 seconds.
    milliseconds = BOUNDS[option][1] * 1000

    assert ctypes.c_int(milliseconds).value == milliseconds


@pytest.mark.parametrize("option", ["bandwidth", "chunk_size"])
def test_zero_bytes_set_no_limit(option: str) -> None:
    settings = registry_settings(module_options(REGISTRY_ARGUMENT_SPEC, **{option: 0}))

    assert getattr(settings, option) is None
