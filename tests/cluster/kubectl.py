# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs kubectl as the cluster's administrator."""

from __future__ import annotations

import subprocess

from . import layout


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as the cluster's administrator and return its output."""
    command = [str(layout.BIN / "kubectl"), f"--kubeconfig={layout.KUBECONFIG}", *arguments]
    return subprocess.run(command, input=stdin, check=True, stdout=subprocess.PIPE, text=True).stdout


def wait_until_ready(*pods: str, namespace: str = "default") -> None:
    """Wait up to a minute until Pods are ready.

    Raises:
        AssertionError: A Pod is not ready, with the states and events of the Pods and their nodes.
    """
    here = f"--namespace={namespace}"
    try:
        kubectl("wait", "pod", *pods, here, "--for=condition=Ready", "--timeout=60s")
    except subprocess.CalledProcessError as error:
        states = kubectl("describe", "pod", *pods, here), kubectl("describe", "nodes")
        raise AssertionError("\n".join(("these Pods are not ready:", *states))) from error
