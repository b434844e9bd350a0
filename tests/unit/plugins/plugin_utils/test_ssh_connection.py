# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.ssh_connection import (
    is_become_rejected,
    is_become_timeout,
    was_never_connected,
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Failed to connect to the host via ssh: ssh: connect to host h port 22: Connection refused", True),
        ("kex_exchange_identification: Connection closed by remote host", True),
        ("channel 0: open failed: connect failed\nstdio forwarding failed\nConnection closed by UNKNOWN", True),
        ("debug1: kex_exchange_identification: banner line 0: hello\nShared connection to h closed.", False),
        ("client_loop: send disconnect: Broken pipe", False),
    ],
)
def test_ssh_error_says_whether_command_was_sent(message: str, expected: bool) -> None:
    assert was_never_connected(message) == expected


@pytest.mark.parametrize(
    ("message", "is_timeout", "is_rejected"),
    [
        ("Timeout (12s) waiting for privilege escalation prompt: ", True, False),
        ("timeout waiting for privilege escalation password prompt:\n", True, False),
        ("Timed out waiting for become success or become password prompt.\n>>> Standard Error\nhello", True, False),
        ("Duplicate become password prompt encountered waiting for become success.", False, True),
        ("privilege output closed while waiting for password prompt:\n", False, True),
        ("Incorrect sudo password", False, True),
        ("Unable to execute ssh command line on a controller.", False, False),
    ],
)
def test_become_error_says_whether_it_is_a_timeout_or_rejection(
    message: str, is_timeout: bool, is_rejected: bool
) -> None:
    assert (is_become_timeout(message), is_become_rejected(message)) == (is_timeout, is_rejected)
