# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients with direct access to the registry's ports can read from the read-only port and cannot write.

The clients are Pods, nodes, and the host, which is outside the cluster. The node port forwards to the read-only port.
"""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import images
import pytest
from cluster import components, image_archive, layout
from cluster.images import ctr
from cluster.kubectl import kubectl
from cluster.pods import wait_until_ready

from .conftest import Task
from .image_tasks import push
from .registry_role import deploy

WRITE_PORT, READ_ONLY_PORT, NODE_PORT = 5000, 5001, 30503
GUESSES = ("", "/k8scr", "/k8scr-write", "/A" + "a" * 47, "/..", "/%2e%2e", "/")
SESSION = "0d7ef5a2-7d2c-4a8c-9c7b-6a7cde4c0a51"
"""An upload session that does not exist."""
BUSYBOX = Path("/bin/busybox")
IMAGE = "docker.io/live/write-port:1"
SCRIPT = r"""
while read -r method host port path; do
  head="$method $path HTTP/1.1\r\nHost: $host\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
  status=$(printf "$head{}" | "$0" nc -w 5 "$host" "$port" | "$0" head -n 1)
  echo "$method $port $path ${status#* }"
done
"""
"""Sends the requests in standard input and prints each request with the status line of its response."""

Request = tuple[str, int, str]


class Send(Protocol):
    """Sends requests to a host, by default to the registry's Pod, and returns them with the status codes."""

    def __call__(self, requests: Sequence[Request], host: str = ...) -> list[tuple[Request, str]]: ...


@pytest.fixture(scope="module")
def pod_address(registry: str) -> str:
    """The IP address of the registry's Pod."""
    return kubectl("get", "pod", registry, "--namespace=k8scr", "--output=jsonpath={.status.podIP}")


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Pod with the program nc on each node: Pod names by node name."""
    archive, names = tmp_path_factory.mktemp("image") / "image.tar", {}
    # kubelet starts an image that it pulled under another name only after a pull under this name. This command makes
    # the image one that no other test pulls.
    image_archive.write(image_archive.Image(IMAGE, BUSYBOX, command=["sleep", "99999"]), archive)
    for node in layout.NODES:
        ctr(node, "images", "import", "--local", str(archive))
        names[node.name] = f"write-port-{node.name}"
        spec = {
            "nodeName": node.name,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "nc", "image": IMAGE, "imagePullPolicy": "Never"}],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": names[node.name]}, "spec": spec}
        kubectl("apply", "--filename=-", stdin=json.dumps(pod))
    try:
        wait_until_ready(*names.values())
        yield names
    finally:
        kubectl("delete", "pod", *names.values(), "--now", "--ignore-not-found")
        for node in layout.NODES:
            ctr(node, "images", "remove", IMAGE)


CLIENTS = ["host", *(f"{kind} {node.name}" for kind in ("node", "Pod on") for node in layout.NODES)]


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    """The name of a client: the host, a node or a Pod."""
    name: str = request.param
    return name


@pytest.fixture
def send(client: str, pods: dict[str, str], pod_address: str) -> Send:
    """Sends requests from the client."""
    kind, _space, node = client.rpartition(" ")
    commands = {
        "": lambda: [str(BUSYBOX), "sh", "-c", SCRIPT, str(BUSYBOX)],
        "node": lambda: components.inside(node, str(BUSYBOX), "sh", "-c", SCRIPT, str(BUSYBOX)),
        "Pod on": lambda: [
            *(str(layout.BIN / "kubectl"), f"--kubeconfig={layout.KUBECONFIG}", "exec", "--stdin", pods[node]),
            *("--", "/busybox", "sh", "-c", SCRIPT, "/busybox"),
        ],
    }

    def run(requests: Sequence[Request], host: str = pod_address) -> list[tuple[Request, str]]:
        lines = "".join(f"{method} {host} {port} {path}\n" for method, port, path in requests)
        done = subprocess.run(commands[kind](), input=lines, capture_output=True, text=True, check=True)
        responses = [line.split(" ", maxsplit=4) for line in done.stdout.splitlines()]
        assert len(responses) == len(requests), done.stderr
        return [((method, int(port), path), status) for method, port, path, status, _reason in responses]

    return run


@pytest.fixture(scope="module")
def exposed() -> Iterator[None]:
    """A registry with a node port that allows deletion, so that only the write path protects its images."""
    deploy(registry_lose_images=True, registry_delete=True, registry_node_port=NODE_PORT)
    yield
    deploy(registry_lose_images=True)


def write_requests(
    repository: str, digest: str, ports: Sequence[int] = (WRITE_PORT, READ_ONLY_PORT), paths: Sequence[str] = GUESSES
) -> list[Request]:
    """Return each write or delete request of the distribution specification, to each port below each path."""
    targets = [
        ("POST", "blobs/uploads/"),
        ("POST", f"blobs/uploads/?digest={digest}"),
        ("POST", f"blobs/uploads/?mount={digest}&from=library/other"),
        ("PATCH", f"blobs/uploads/{SESSION}"),
        ("PUT", f"blobs/uploads/{SESSION}?digest={digest}"),
        ("PUT", "manifests/1"),
        ("PUT", f"manifests/{digest}"),
        ("DELETE", "manifests/1"),
        ("DELETE", f"manifests/{digest}"),
        ("DELETE", f"blobs/{digest}"),
    ]
    return [
        (method, port, f"{start}/v2/{repository}/{path}")
        for port, start, (method, path) in itertools.product(ports, paths, targets)
    ]


def state_of(repository: str) -> tuple[str, str]:
    """Return the list of repositories and the tags of one repository, from the read-only port."""
    proxy = f"/api/v1/namespaces/k8scr/pods/k8scr-0:{READ_ONLY_PORT}/proxy/v2"
    return kubectl("get", "--raw", f"{proxy}/_catalog"), kubectl("get", "--raw", f"{proxy}/{repository}/tags/list")


def test_registry_rejects_writes_and_deletes_without_write_path(
    exposed: None, task: Task, repository: str, send: Send
) -> None:
    (pushed,) = push(task, images.ensure("busybox"), repository)["images"]
    before = state_of(repository)

    responses = send(write_requests(repository, pushed["digest"]))

    # distribution redirects paths that are not clean; it does not serve the clean paths either.
    assert {status for _request, status in responses} <= {"301", "307", "308", "400", "404", "405"}
    assert state_of(repository) == before
    again = push(task, images.ensure("busybox"), repository)
    assert not again["changed"], again.get("msg")


def test_write_port_serves_only_its_root_without_write_path(task: Task, repository: str, send: Send) -> None:
    push(task, images.ensure("busybox"), repository)
    paths = ["/v2/", "/v2/_catalog", f"/v2/{repository}/tags/list", f"/v2/{repository}/manifests/1", "/metrics"]

    responses = send([("GET", WRITE_PORT, f"{guess}{path}") for guess in ("", "/k8scr") for path in paths])
    root = send([("GET", WRITE_PORT, "/")])

    assert {status for _request, status in responses} == {"404"}
    assert [status for _request, status in root] == ["200"]


def test_read_only_port_serves_pulls(task: Task, repository: str, send: Send) -> None:
    push(task, images.ensure("busybox"), repository)

    responses = send([("GET", READ_ONLY_PORT, f"/v2/{repository}/tags/list")])

    assert [status for _request, status in responses] == ["200"]


def node_port_hosts(client: str) -> list[str]:
    """Return the hosts at which a client can reach the node port."""
    # The localhost of a Pod is not that of its node, and the host is not a node.
    return [*(["localhost"] if client.startswith("node ") else []), *(node.address for node in layout.NODES)]


def encoded_write_path() -> str:
    """Return the write path in its Secret, as base64."""
    return kubectl("get", "secret", "k8scr-write", "--namespace=k8scr", "--output=jsonpath={.data.path}")


def test_node_port_rejects_writes_and_deletes_with_and_without_write_path(
    exposed: None, task: Task, repository: str, client: str, send: Send
) -> None:
    (pushed,) = push(task, images.ensure("busybox"), repository)["images"]
    write_path = f"/{base64.b64decode(encoded_write_path()).decode().strip('/')}"
    before = state_of(repository)

    requests = write_requests(repository, pushed["digest"], [NODE_PORT], ["", write_path])
    responses = [response for host in node_port_hosts(client) for response in send(requests, host)]

    # The node port does not serve the write path, and it has no upload sessions.
    missing = (write_path, SESSION)
    expected = [(request, "404" if any(text in request[2] for text in missing) else "405") for request in requests]
    assert responses == expected * len(node_port_hosts(client))
    assert state_of(repository) == before


def test_node_port_serves_pulls(exposed: None, task: Task, repository: str, client: str, send: Send) -> None:
    push(task, images.ensure("busybox"), repository)
    request = ("GET", NODE_PORT, f"/v2/{repository}/tags/list")

    responses = [response for host in node_port_hosts(client) for response in send([request], host)]

    assert {status for _request, status in responses} == {"200"}


@pytest.mark.parametrize("node", [node.name for node in layout.NODES])
def test_registry_client_pulls_but_cannot_push_at_localhost_of_node(
    exposed: None, task: Task, repository: str, node: str
) -> None:
    push(task, images.ensure("busybox"), repository)
    image = f"localhost:{NODE_PORT}/{repository}"

    def crane(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = components.inside(node, str(layout.BIN / "crane"), *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=False)

    validated = crane("validate", "--remote", f"{image}:1")
    pushed = crane("copy", f"{image}:1", f"{image}-copy:1")

    assert validated.returncode == 0, validated.stderr
    assert "405 Method Not Allowed" in pushed.stderr


def test_service_forwards_to_read_only_port_only(exposed: None) -> None:
    services = json.loads(kubectl("get", "services", "--namespace=k8scr", "--output=json"))["items"]

    ports = [(port["targetPort"], port["nodePort"]) for service in services for port in service["spec"]["ports"]]
    assert ports == [("mirror", NODE_PORT)]


def test_only_secret_contains_write_path(registry: str) -> None:
    encoded = encoded_write_path()
    path = base64.b64decode(encoded).decode().strip("/")
    kinds = "pods,statefulsets,controllerrevisions,configmaps,services,endpointslices,roles,events,secrets"

    found = json.loads(kubectl("get", kinds, "--namespace=k8scr", "--output=json"))["items"]

    assert len(path) == 48
    with_path = [
        (item["kind"], item["metadata"]["name"])
        for item in found
        if path in json.dumps(item) or encoded in json.dumps(item)
    ]
    assert with_path == [("Secret", "k8scr-write")]
