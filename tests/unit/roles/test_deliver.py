# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The validation of the playbook deliver, which needs no cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Callable


def test_deliver_rejects_classic_pod_without_endpoint_for_the_nodes(
    run_plays: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_plays({"import_playbook": "k8scr.core.deliver"}, deliver_hosts="all", registry_kind="Pod")

    assert done.returncode != 0
    assert "the classic Pod has no Service from which the nodes can pull" in done.stdout.replace("\n", " ")
    assert "changed=0" in done.stdout
