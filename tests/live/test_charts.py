# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives of Helm charts: the artifact that ``helm push`` makes, and charts that the real helm pulls and installs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from cluster import layout, programs
from cluster.kubectl import kubectl

from .conftest import Task
from .host_registries import HostRegistry
from .upstream_registries import upstream_registry

Helm = Callable[..., str]
_CREATED = re.compile('"org.opencontainers.image.created":"[^"]*",')
_OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_NAMESPACE = "charts"
CHARTS = {
    "short": "apiVersion: v2\nname: app\nversion: 1.2.3\n",
    "helm2": "name: app\nversion: 1.2.3\nappVersion: 1.10\n",
    "long": """\
apiVersion: v2
name: app
version: 1.2.3
appVersion: 20.04
description: |
  Several lines <b>&amp; "quotes"
  and \u00e9
home: https://example.com/?a=1&b=2
sources: [https://example.com/src, "https://example.com/2 "]
keywords: [a, 1, 2.50, true]
maintainers:
  - {name: Ann, email: ann@example.com, url: "https://example.com"}
  - {email: bob@example.com}
kubeVersion: ">=1.25-0"
deprecated: yes
annotations:
  org.opencontainers.image.title: other
  artifacthub.io/images: |
    - name: x
      image: y:1
""",
}
_TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {replicas: {{ .Values.replicas | quote }}}
"""


@pytest.fixture
def helm(tmp_path: Path) -> Helm:
    """Runs helm with folders of its own, and returns its output."""
    program = programs.ensure(["helm"])["helm"]
    environment = {**os.environ, **{f"HELM_{kind}_HOME": str(tmp_path / kind) for kind in ("CACHE", "CONFIG", "DATA")}}

    def run(*arguments: str) -> str:
        command = [str(program), *arguments]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    return run


@pytest.fixture(params=CHARTS)
def archive(request: pytest.FixtureRequest, helm: Helm, tmp_path: Path) -> Path:
    """The archive of a chart, written by helm."""
    folder = tmp_path / "app"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text(CHARTS[request.param])
    (folder / "values.yaml").write_text("replicas: 1\n")
    (folder / "templates/map.yaml").write_text(_TEMPLATE)
    helm("package", str(folder))
    return tmp_path / "app-1.2.3.tgz"


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[HostRegistry]:
    """A registry to which helm pushes."""
    with upstream_registry("distribution-3", tmp_path / "upstream") as registry:
        yield registry


def manifest_of(host: str, repository: str) -> str:
    """Return the text of a chart's manifest in a registry."""
    url = f"http://{host}/v2/{repository}/manifests/1.2.3"
    return requests.get(url, headers={"Accept": _OCI_MANIFEST}, timeout=30).text


def test_push_stores_artifact_of_helm_push(
    task: Task, helm: Helm, archive: Path, upstream: HostRegistry, address: str, repository: str
) -> None:
    helm("push", str(archive), f"oci://{upstream.address}/{repository}", "--plain-http")

    result = task(
        "k8scr_push",
        images=[{"source": f"chart:{archive}", "name": f"registry.example.com/{repository}/app:1.2.3"}],
    )

    assert result["changed"], result.get("msg")
    ours, theirs = (manifest_of(host, f"{repository}/app") for host in (address, upstream.address))
    assert ours == _CREATED.sub("", theirs)


def test_helm_pulls_and_installs_pushed_chart(
    task: Task, helm: Helm, archive: Path, address: str, repository: str, tmp_path: Path
) -> None:
    task("k8scr_push", images=[{"source": f"chart:{archive}", "name": f"docker.io/{repository}/app:1.2.3"}])
    reference = f"oci://{address}/{repository}/app"
    pulled = tmp_path / "pulled"
    pulled.mkdir()

    helm("pull", reference, "--version=1.2.3", "--plain-http", f"--destination={pulled}")
    helm(
        *("install", "released", reference, "--version=1.2.3", "--plain-http", "--set=replicas=3"),
        *(f"--kubeconfig={layout.KUBECONFIG}", f"--namespace={_NAMESPACE}", "--create-namespace"),
    )
    try:
        installed = json.loads(kubectl("get", "configmap/released", f"--namespace={_NAMESPACE}", "--output=json"))
    finally:
        kubectl("delete", f"namespace/{_NAMESPACE}")

    assert (pulled / archive.name).read_bytes() == archive.read_bytes()
    assert installed["data"] == {"replicas": "3"}
