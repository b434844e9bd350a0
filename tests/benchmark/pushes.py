# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ways to push an image that are compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import images
import requests
from ansible_collections.k8scr.core.plugins.module_utils.transport.cluster import connect
from ansible_collections.k8scr.core.plugins.module_utils.transport.pod_proxy import PodProxyAdapter
from cluster import layout
from cluster.certificates import CA, Pair
from live.host_registries import NAMESPACE, HostRegistry

URL = "http://registry"
MODULE = """
import json, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.k8scr.core.plugins.modules import k8scr_push
from time import monotonic, process_time
start, used = monotonic(), process_time()
try:
    with patch_module_args(json.load(sys.stdin)):
        k8scr_push.main()
finally:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(json.dumps([monotonic() - start, process_time() - used, peak / 1024]), file=sys.stderr)
"""


@dataclass(frozen=True)
class Measured:
    """What one push took.

    Attributes:
        seconds: Of wall time, without the start of the program's interpreter.
        cpu: Seconds of the client's processor time; None where it was not measured.
        memory: MiB that the client had resident at most; None where it was not measured.
    """

    seconds: float
    cpu: float | None = None
    memory: float | None = None


def push_with_the_module(host: HostRegistry, image: images.Image, repository: str, connections: int = 4) -> Measured:
    """``k8scr_push``, the module alone, without ansible-playbook around it."""
    source = {"source": f"oci:{image.layout}", "name": f"docker.io/{repository}:1"}
    options = {"kubeconfig": str(layout.KUBECONFIG), "images": [source], "connections": connections, **host.options}
    command = [sys.executable, "-c", MODULE]
    done = subprocess.run(command, input=json.dumps(options), capture_output=True, text=True, check=False)
    result = json.loads(done.stdout)
    if not result.get("changed"):
        raise RuntimeError(f"the push failed: {result.get('msg')}")
    return Measured(*json.loads(done.stderr.splitlines()[-1]))


def push_with_curl(
    host: HostRegistry, image: images.Image, repository: str, connections: int = 4, version: str = "--http1.1"
) -> Measured:
    """The road's limit: curl sends the image's blobs through the API server, hashes nothing and asks nothing."""
    blobs = [path for path in (image.layout / "blobs/sha256").iterdir() if path.stat().st_size > 1 << 20]
    locations = _open_uploads(host, repository, len(blobs))
    with tempfile.NamedTemporaryFile("w", suffix=".curlrc") as configuration:
        configuration.write("\nnext\n".join(_transfer(*pair, version) for pair in zip(blobs, locations)))
        configuration.flush()
        command = ["curl", "--parallel", "--parallel-max", str(connections), "--config", configuration.name]
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return Measured(time.monotonic() - start)


def _open_uploads(host: HostRegistry, repository: str, count: int) -> list[str]:
    """Open upload sessions; where curl sends to comes back, at the API server."""
    with connect({"kubeconfig": str(layout.KUBECONFIG)}) as cluster, requests.Session() as session:
        session.mount(f"{URL}/", PodProxyAdapter(cluster.adapter, NAMESPACE, host.pod, host.port))
        prefix = f"{layout.API_URL}/api/v1/namespaces/{NAMESPACE}/pods/{host.pod}:{host.port}/proxy"
        opened = [session.post(f"{URL}/v2/{repository}/blobs/uploads/") for _number in range(count)]
        return [prefix + answer.headers["Location"].removeprefix(URL) for answer in opened]


def _transfer(blob: Path, location: str, version: str) -> str:
    admin = Pair("admin")
    options: Mapping[str, Any] = {
        "url": f"{location}&digest=sha256:{blob.name}",
        "upload-file": blob,
        "request": "PUT",
        "header": "Content-Type: application/octet-stream",
        "cacert": CA.certificate,
        "cert": admin.certificate,
        "key": admin.key,
    }
    lines = [f'{name} = "{value}"' for name, value in options.items()]
    return "\n".join([*lines, version.removeprefix("--"), "silent", "show-error", "fail"])


def machine() -> str:
    """What the figures are of."""
    with Path("/proc/cpuinfo").open() as lines:
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{model}, {os.cpu_count()} processors for client and cluster together"
