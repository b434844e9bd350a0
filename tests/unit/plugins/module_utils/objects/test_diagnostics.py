# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reasons of failed objects, with secret paths redacted in the logs of containers."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.diagnostics import Diagnostics


@pytest.mark.parametrize("uri", ["/canary/v2/a/blobs/1", '"/canary/v2/a/blobs/1?x=y z"'])
def test_reasons_redact_request_path_in_log_of_container(uri: str) -> None:
    client = Mock()
    client.last_log_line.return_value = (
        f'level=error msg="response completed" http.request.uri={uri} http.response.status=500'
    )
    terminated = {"name": "registry", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    pod = {"kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "status": {"containerStatuses": [terminated]}}

    reasons = Diagnostics(client).reasons(pod)

    assert "OOMKilled" in reasons
    assert "http.request.uri=" in reasons
    assert "canary" not in reasons
