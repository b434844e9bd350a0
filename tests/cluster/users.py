# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of the cluster, each with a client certificate in a kubeconfig."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from . import certificates, files, layout
from .certificates import CA, Pair
from .errors import ClusterError
from .kubectl import kubectl
from .waiting import wait_until

ADMIN = "kubernetes-admin"
# The administrator of these scripts, whose requests are not in the audit log.
MONITOR = "system:k8scr-test-cluster"


def make(name: str, groups: Sequence[str] = ()) -> Path:
    """Create a user and return the path of its kubeconfig.

    A second call for the same name makes a new certificate, because the groups may differ.
    """
    if not CA.exists():
        raise ClusterError("the cluster is not up: start it with `up`")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,63}", name):
        raise ClusterError(f"invalid user name {name!r}")
    pair = Pair(f"user-{name}")
    pair.certificate.unlink(missing_ok=True)
    certificates.signed(pair, name, groups)
    return kubeconfig(layout.USERS / f"{name}.kubeconfig", name, pair, layout.API_URL)


def wait_for_permission(name: str, namespace: str) -> None:
    """Wait until a user may send requests to Pods of a namespace.

    The API server learns of new Roles and RoleBindings a moment after it has stored them.

    Raises:
        AssertionError: The user does not have the permission in time.
    """
    wait_until(
        lambda: "pods/proxy" in kubectl("auth", "can-i", "--list", f"--as={name}", f"--namespace={namespace}"),
        f"{name} may send requests to Pods of namespace {namespace}",
    )


def make_admin() -> None:
    """Create the two administrators: one for users and tests, one for these scripts."""
    pair = certificates.signed(Pair("admin"), ADMIN, ["system:masters"])
    kubeconfig(layout.KUBECONFIG, ADMIN, pair, layout.API_URL)
    certificates.signed(Pair("monitor"), MONITOR, ["system:masters"])


def kubeconfig(path: Path, user: str, pair: Pair, server: str) -> Path:
    """Write a kubeconfig that contains its certificates and key, and return its path."""
    text = files.fill(
        "kubeconfig.yaml",
        server=server,
        user=user,
        ca=_base64(CA.certificate),
        certificate=_base64(pair.certificate),
        key=_base64(pair.key),
    )
    files.write(path, text, mode=0o600)
    return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
