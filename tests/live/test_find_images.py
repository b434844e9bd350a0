# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""k8scr_find_images with the real Helm, kubectl and cluster, and the playbooks of its guide.

``make charts`` installs many more charts.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import catalogue, installation, sources
from cluster import layout, programs
from cluster.catalogue import KUBERNETES
from cluster.kubectl import kubectl

from .conftest import Task
from .guide_pages import read_guide, run_command
from .host_registries import HostRegistry

DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture(scope="module", autouse=True)
def no_leftovers() -> Iterator[None]:
    """Wait at the end until the cluster has deleted the objects of the charts."""
    yield
    installation.wait_until_deleted()


@pytest.fixture(scope="session")
def helm() -> str:
    """The path of Helm."""
    return str(programs.ensure(["helm"])["helm"])


@pytest.fixture
def chart(tmp_path: Path, helm: str) -> Path:
    """The chart that ``helm create`` writes: a Deployment of nginx, and a test that runs busybox."""
    (tmp_path / "charts").mkdir()
    subprocess.run([helm, "create", "app"], cwd=tmp_path / "charts", check=True, stdout=subprocess.DEVNULL)
    return tmp_path / "charts/app"


def find(task: Task, **options: Any) -> dict[str, Any]:
    """Run k8scr_find_images without problems and return its result."""
    result = task("k8scr_find_images", **options)
    assert not result.get("failed"), result["msg"]
    assert not result["changed"]
    return result


def problem_of(task: Task, **options: Any) -> str:
    """Run k8scr_find_images with one problem and return it."""
    result = task("k8scr_find_images", **options)
    assert result["failed"]
    (problem,) = result["msg"].splitlines()
    return str(problem)


def names(result: dict[str, Any]) -> dict[str, str]:
    """Return the names of the found images, each with how it was found."""
    return {image["name"]: image["how"] for image in result["images"]}


@pytest.mark.parametrize("wanted", catalogue.FEW, ids=lambda wanted: wanted.name)
def test_find_images_finds_images_of_created_pods(wanted: catalogue.Input, helm: str, task: Task) -> None:
    path = sources.path_of(wanted)
    result = find(task, **installation.chart_options(wanted, path))

    with installation.installed(wanted, path) as images:
        assert images - {image["name"] for image in (*result["images"], *result["guesses"])} == set()


def test_find_images_renders_values_and_skips_helm_test(task: Task, helm: str, chart: Path) -> None:
    result = find(task, helm=helm, charts=[{"chart": str(chart), "values": {"image": {"tag": "1.29"}}}])

    assert names(result) == {"docker.io/library/nginx:1.29": "rendered"}
    assert [(each["kind"], each["reason"]) for each in result["left_out"]] == [("Pod", "only helm test creates it")]
    assert result["images"][0]["found_in"] == [
        {
            "chart": str(chart),
            "file": "app/templates/deployment.yaml",
            "document": 3,
            "kind": "Deployment",
            "namespace": None,
            "name": "release-name-app",
            "path": "spec.template.spec.containers[0].image",
        }
    ]


def test_find_images_renders_for_kubernetes_and_api_versions(task: Task, helm: str, chart: Path) -> None:
    template = (
        "kind: Pod\nspec: {containers: [{image: 'kube:{{ .Capabilities.KubeVersion.Minor }}'}]}\n"
        '{{ if .Capabilities.APIVersions.Has "example.com/v1" }}\n---\n'
        "kind: Pod\nspec: {containers: [{image: 'api:1'}]}\n{{ end }}"
    )
    shutil.rmtree(chart / "templates")
    (chart / "templates").mkdir()
    (chart / "templates/pods.yaml").write_text(template)

    result = find(
        task, helm=helm, charts=[{"chart": str(chart), "kube_version": 1.36, "api_versions": ["example.com/v1"]}]
    )

    assert list(names(result)) == ["docker.io/library/api:1", "docker.io/library/kube:36"]


def test_find_images_reads_archive_and_chart_of_registry(
    task: Task, helm: str, chart: Path, host: HostRegistry, tmp_path: Path
) -> None:
    main = yaml.safe_load((chart / "Chart.yaml").read_text())
    main["annotations"] = {"artifacthub.io/images": "- name: agent\n  image: quay.io/team/agent:1\n"}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(main))
    subprocess.run([helm, "package", str(chart), f"--destination={tmp_path}"], check=True, stdout=subprocess.DEVNULL)
    archive = tmp_path / "app-0.1.0.tgz"
    address = f"oci://{host.address}/charts"
    subprocess.run([helm, "push", "--plain-http", str(archive), address], check=True, capture_output=True)

    of_archive = find(task, helm=helm, charts=[str(archive)])
    of_registry = find(task, helm=helm, charts=[{"chart": f"{address}/app", "plain_http": True}])

    assert names(of_archive) == {"docker.io/library/nginx:1.16.0": "rendered", "quay.io/team/agent:1": "annotation"}
    assert names(of_registry) == names(of_archive)
    assert {origin["chart"] for image in of_registry["images"] for origin in image["found_in"]} == {f"{address}/app"}


def test_find_images_names_missing_chart_of_registry(task: Task, helm: str, host: HostRegistry) -> None:
    chart = f"oci://{host.address}/charts/missing"

    problem = problem_of(task, helm=helm, charts=[{"chart": chart, "plain_http": True, "version": "1.0.0"}])

    assert problem.startswith(f"the chart {chart} cannot be downloaded: helm failed: ")


@pytest.mark.parametrize(
    ("template", "timeout", "reason"),
    [
        ("{{ required `set the value` .Values.missing }}", 60, "set the value"),
        ("{{ .Values.image", 60, "unclosed action"),
        ('{{ range until 100000 }}{{ repeat 100000 "x" }}{{ end }}', 300, "memory"),
        ("{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}", 5, "did not finish within 5 s"),
        ('{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}', 60, "rendering template has a nested"),
    ],
)
def test_find_images_ends_for_hostile_chart(
    task: Task, helm: str, chart: Path, template: str, timeout: int, reason: str
) -> None:
    (chart / "templates/hostile.yaml").write_text(template)
    begin = time.monotonic()

    problem = problem_of(task, helm=helm, charts=[str(chart)], timeout=timeout)

    assert problem.startswith(f"the chart {chart} cannot be rendered: helm ")
    assert reason in problem
    assert "goroutine" not in problem
    assert time.monotonic() - begin < timeout + 25
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 3 << 20


def test_find_images_advises_for_missing_dependency_and_version(task: Task, helm: str, chart: Path) -> None:
    main = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**main, "kubeVersion": ">= 1.99"}))
    versions = problem_of(task, helm=helm, charts=[str(chart)])
    dependency = {"name": "db", "version": "1.0.0", "repository": "https://charts.example.com"}
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**main, "dependencies": [dependency]}))

    assert versions.endswith("Set kube_version to the version of the cluster.")
    assert problem_of(task, helm=helm, charts=[str(chart)]).endswith("Run helm dependency build on the chart.")


def test_find_images_does_not_show_values(task: Task, helm: str, chart: Path) -> None:
    (chart / "templates/fail.yaml").write_text("{{ fail .Values.password }}")

    result = task("k8scr_find_images", helm=helm, charts=[{"chart": str(chart), "values": {"password": "canary"}}])

    assert result["failed"]
    assert "canary" not in json.dumps(result)


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """A kustomization that changes the image of its base."""
    base, overlay = tmp_path / "base", tmp_path / "overlay"
    for folder in (base, overlay):
        folder.mkdir()
    spec = {"containers": [{"name": "web", "image": "nginx"}]}
    (base / "pod.yaml").write_text(
        json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec})
    )
    (base / "kustomization.yaml").write_text(json.dumps({"resources": ["pod.yaml"]}))
    content = {"resources": ["../base"], "images": [{"name": "nginx", "newName": "team/web", "newTag": "2"}]}
    (overlay / "kustomization.yaml").write_text(json.dumps(content))
    return overlay


def test_find_images_builds_kustomization(task: Task, overlay: Path) -> None:
    result = find(task, src=[f"kustomize:{overlay}"], kubectl=str(layout.BIN / "kubectl"))

    assert names(result) == {"docker.io/team/web:2": "manifest"}


@pytest.mark.parametrize("remote", ["https://203.0.113.1/pod.yaml", "git::https://203.0.113.1/team/app"])
def test_find_images_loads_no_remote_resource(task: Task, overlay: Path, remote: str) -> None:
    (overlay / "kustomization.yaml").write_text(json.dumps({"resources": [remote]}))
    begin = time.monotonic()

    problem = problem_of(task, src=[str(overlay)], kubectl=str(layout.BIN / "kubectl"))

    assert "cannot be built: kubectl failed: " in problem
    assert time.monotonic() - begin < 10


def test_find_images_names_file_and_line_of_template_of_kubernetes(task: Task) -> None:
    template = sources.path_of(catalogue.TEMPLATES) / "fluentd-gcp-ds.yaml"

    problem = problem_of(task, src=[str(template)])

    assert problem.startswith(f"{template}, line ")
    assert problem.endswith("If it is a template, render it first; for a chart, use charts.")


def test_find_images_finds_images_of_cluster(task: Task, repository: str) -> None:
    name = f"find-{repository.rpartition('/')[2]}"
    kubectl("create", "deployment", name, "--image=registry.example.com/team/find:1", "--replicas=0")
    try:
        result = find(task, cluster=True)
    finally:
        kubectl("delete", "deployment", name)

    (image,) = (image for image in result["images"] if image["name"] == "registry.example.com/team/find:1")
    assert (image["how"], result["unseen"]) == ("cluster", [])
    assert ("Deployment", "default", name) in [(o["kind"], o["namespace"], o["name"]) for o in image["found_in"]]


def test_guide_to_find_images_runs(chart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{layout.BIN}:{os.environ['PATH']}")
    guide = read_guide("guide_find_images.rst", {'"1.36"': f'"{KUBERNETES}"'})
    for name, text in guide.files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/app.yml").write_text("services: {db: {image: 'redis:8'}}\n")
    lock = {"docker.io/library/nginx:1.29": DIGEST}
    (tmp_path / "images.lock.json").write_text(json.dumps(lock))

    found, upgrade, running = (run_command(command, tmp_path, layout.KUBECONFIG) for command in guide.commands)

    assert yaml.safe_load((tmp_path / "sources.yml").read_text()) == {
        "sources": ["docker://docker.io/library/nginx:1.29", "docker://docker.io/library/redis:8"]
    }
    assert found.changes == {"localhost": 1}
    assert upgrade.changes == {"localhost": 1}
    assert "-docker.io/library/nginx:1.29\n+docker.io/library/nginx:1.30" in upgrade.output
    assert "docker://" in running.output
