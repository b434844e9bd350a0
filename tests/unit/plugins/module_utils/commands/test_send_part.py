# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.send_part import SendPartSettings
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of


def settings(**parameters: Any) -> SendPartSettings:
    """Return settings with the given parameters."""
    valid = {"dest": "/srv/app.tar", "size": 10, "digest": digest_of(b""), "piece": None, "offset": 0}
    return SendPartSettings.from_parameters({**valid, **parameters})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"size": -1}, "size is -1, which is not between 0 and "),
        ({"size": 1 << 63}, "size is 9223372036854775808, which is not between 0 and 9223372036854775807"),
        ({"offset": -1}, "offset is -1, which is not between 0 and 10"),
        ({"offset": 11}, "offset is 11, which is not between 0 and 10"),
        ({"digest": "sha256:1"}, "'sha256:1' is not a digest"),
    ],
)
def test_send_part_settings_name_invalid_parameter(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings(**parameters)


@pytest.mark.parametrize(("size", "offset"), [(0, 0), (10, 10), ((1 << 63) - 1, 0)])
def test_send_part_settings_accept_bounds(size: int, offset: int) -> None:
    assert settings(size=size, offset=offset).offset == offset
