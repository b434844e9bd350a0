# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the tests of ``make charts``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.k8scr.core.plugins.modules import k8scr_find_images
from cluster import programs

from . import installation

Find = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session", autouse=True)
def helm() -> Iterator[None]:
    """Build or download Helm, and wait at the end until the cluster is empty."""
    programs.ensure(["helm"])
    yield
    installation.wait_until_deleted()


@pytest.fixture
def find(capsys: pytest.CaptureFixture[str]) -> Find:
    """Runs k8scr_find_images with options, and returns its result."""

    def run(**options: Any) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args(options), pytest.raises(SystemExit):
            k8scr_find_images.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run
