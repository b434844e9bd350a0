# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An administrator whose credentials a registry tries to misuse, and the requests with them in the audit log."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from cluster import audit, users

from .host_registries import NAMESPACE

_USER = "victim"


def victim_kubeconfig() -> Path:
    """Return the path of the administrator's kubeconfig."""
    return users.make(_USER, ["system:masters"])


def requests_outside_pod(pod: str, position: int) -> list[str]:
    """Return the requests with the victim's credentials to anything but a Pod.

    Args:
        pod: The name of the Pod.
        position: The position in the audit log from which to read.
    """
    audit.settle()
    allowed = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}"
    requested = [event["requestURI"] for event in audit.events(position) if event["user"]["username"] == _USER]
    assert requested, "the audit log has no request of the victim"
    return [uri for uri in requested if not (uri == allowed or uri.startswith(f"{allowed}:")) or ".." in unquote(uri)]
