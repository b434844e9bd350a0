# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role that deploys registries, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster import images, layout


def run_role(*options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run the role with these variables, and the options of `ansible`; whether it worked, the result says."""
    words = ["-m", "ansible.builtin.include_role", "-a", "name=k8scr.core.registry", *options]
    command = ["ansible", "localhost", *words, f"--extra-vars={json.dumps(variables)}"]
    environment = {**os.environ, "K8S_AUTH_KUBECONFIG": str(layout.KUBECONFIG)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def deploy(*options: str, **variables: Any) -> str:
    """Have a registry; what Ansible printed comes back."""
    done = run_role(*options, **{"registry_image": images.REGISTRY, **variables})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def deployed(**variables: Any) -> Iterator[None]:
    """A registry that is there until the end of the block."""
    try:
        deploy(**variables)
        yield
    finally:
        done = run_role(**variables, registry_state="absent")
    assert done.returncode == 0, done.stdout + done.stderr
