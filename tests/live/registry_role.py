# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role k8scr.core.registry, run by the command ansible."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster import images, layout


def run_role(*options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run the role with options of `ansible` and variables of the role, and return the ended process."""
    arguments = ["-m", "ansible.builtin.include_role", "-a", "name=k8scr.core.registry", *options]
    command = ["ansible", "localhost", *arguments, f"--extra-vars={json.dumps(variables)}"]
    environment = {**os.environ, "K8S_AUTH_KUBECONFIG": str(layout.KUBECONFIG)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def deploy(*options: str, **variables: Any) -> str:
    """Deploy a registry and return Ansible's output."""
    done = run_role(*options, **{"registry_image": images.REGISTRY, **variables})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def deployed(**variables: Any) -> Iterator[None]:
    """Deploy a registry and remove it at the end of the block."""
    try:
        deploy(**variables)
        yield
    finally:
        done = run_role(**variables, registry_state="absent")
    assert done.returncode == 0, done.stdout + done.stderr
