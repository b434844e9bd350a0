# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: starts a cluster, delivers images into it, and runs one of them in a Pod."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cluster.errors import log

from . import collection, venv
from .commands import BUILD, CHECKOUT, CLUSTER, IMAGES, Failed, path_with, run

PLAYBOOK = CHECKOUT / "playbooks/demo.yml"
FOLDER = BUILD / "demo"
# The delivered images by name, each with the form that the playbook reads; a Pod runs the first.
DELIVERED = {"busybox": "oci-archive", "debian": "docker-archive", "multi": "oci"}
COLUMNS = "POD:.metadata.name,NODE:.spec.nodeName,PHASE:.status.phase,IMAGE:.status.containerStatuses[*].image"
# A line of the play recap: node-1 : ok=5 changed=0 unreachable=0 …
RECAP = re.compile(r"^\S+\s*:\s*ok=\d+\s+changed=(\d+)", re.MULTILINE)


def run_demo() -> None:
    """Run the demo's playbook twice.

    Raises:
        Failed: The playbook failed, or its second run changed something.
    """
    start = time.monotonic()
    programs = venv.ensure()
    run(*CLUSTER, "up")
    images = json.loads(run(*IMAGES, "--json", *DELIVERED, capture=True))
    collection.install(programs)
    status = json.loads(run(*CLUSTER, "status", "--json", capture=True))

    # Delete images that an earlier demo pulled.
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    playbook = Playbook(programs, status, images)
    log(f"==== {PLAYBOOK.name}")
    playbook.run()
    log(f"==== {PLAYBOOK.name}, second run")
    changes = sum(map(int, RECAP.findall(playbook.run())))
    if changes:
        raise Failed(f"the second run of {PLAYBOOK.name} made {changes} changes, and must make none")

    log("==== Pods of the cluster")
    run("kubectl", "get", "pods", "--all-namespaces", f"--output=custom-columns={COLUMNS}", env=playbook.environment)
    log(f"==== the second run had changed=0; the demo took {time.monotonic() - start:.0f} seconds")
    log('To use the cluster:     eval "$(make -s env)"; kubectl get pods -A')
    log(f"                        export KUBECONFIG={status['kubeconfig']}")
    log("To remove the cluster:  make cluster-down")


class Playbook:
    """The demo's playbook with its inventory, variables and environment."""

    def __init__(self, programs: Path, status: dict[str, Any], images: dict[str, Any]) -> None:
        variables = {
            "demo_images": [f"{form}:{images[name]['forms'][form]['path']}" for name, form in DELIVERED.items()],
            "demo_run": next(iter(images.values()))["tags"][0]["name"],
            "demo_folder": str(FOLDER),
            "registry_image": status["registry_image"],
        }
        self.command = [
            str(programs / "ansible-playbook"),
            f"--inventory={status['inventory']}",
            f"--extra-vars={json.dumps(variables)}",
            str(PLAYBOOK),
        ]
        self.environment = {
            "ANSIBLE_COLLECTIONS_PATH": str(collection.INSTALLED),
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_NOCOLOR": "1",
            "KUBECONFIG": str(status["kubeconfig"]),
            "PATH": path_with([programs, Path(str(status["bin"]))]),
        }

    def run(self) -> str:
        """Run the playbook, print its output while it runs, and return the output."""
        environment = {**os.environ, **self.environment}
        printed: list[str] = []
        with subprocess.Popen(
            self.command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        ) as process:
            for line in process.stdout or ():
                sys.stdout.write(line)
                sys.stdout.flush()
                printed.append(line)
        if process.returncode:
            raise Failed(f"{PLAYBOOK.name} failed; the cluster is still up (`make cluster-down` removes it)")
        return "".join(printed)
