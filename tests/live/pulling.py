# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls on the nodes without retries, for tests of changes during which nodes must be able to pull."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cluster import components, layout
from cluster.kubectl import kubectl

_PROGRAM = r"""
import hashlib, json, sys, threading, urllib.request
url, pulled, failures, ended = sys.argv[1], 0, [], threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()

def get(path, accept="*/*"):
    request = urllib.request.Request(f"{url}/{path}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read()

while not ended.wait(0.01) or pulled + len(failures) < 20:
    try:
        manifest = json.loads(get("manifests/1", "application/vnd.oci.image.manifest.v1+json"))
        for blob in (manifest["config"], *manifest["layers"]):
            content = get(f"blobs/{blob['digest']}")
            assert "sha256:" + hashlib.sha256(content).hexdigest() == blob["digest"], "wrong content"
        pulled += 1
    except Exception as error:
        failures.append(repr(error))
print(json.dumps([pulled, failures[:10]]))
"""
"""Pulls tag 1 of a repository until its standard input ends and at least 20 times, and prints the results."""


@dataclass
class Pulls:
    """The pulls of all nodes, after the end of the block."""

    counts: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def pulling(namespace: str, repository: str) -> Iterator[Pulls]:
    """Pull tag 1 of a repository from the Service on all nodes, until the end of the block and at least 20 times."""
    address = kubectl("get", "service", "k8scr", f"--namespace={namespace}", "--output=jsonpath={.spec.clusterIP}")
    url = f"http://{address}:5001/v2/{repository}"
    pulls, processes = Pulls(), []
    for node in layout.NODES:
        command = components.inside(node.name, sys.executable, "-I", "-c", _PROGRAM, url)
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    try:
        yield pulls
    finally:
        for process in processes:
            output, _errors = process.communicate(timeout=60)
            count, failures = json.loads(output)
            pulls.counts.append(count)
            pulls.failures += failures
