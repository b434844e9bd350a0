# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Charts: the arguments of Helm, and the images in annotations of charts and sub-charts."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.charts import Chart, ChartReader
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.collection import Discovery, How
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.custom_resources import ResourcePaths
from unit.plugins.module_utils.support.fake_programs import arguments_of, write_program

ANNOTATION = "- name: agent\n  image: quay.io/team/agent:1\n- image: quay.io/team/tool:2\n"


@pytest.fixture
def helm(tmp_path: Path) -> str:
    """A program in place of Helm that prints a Pod."""
    return write_program(tmp_path / "helm")


def read(helm: str, location: Path | str, **options: Any) -> Discovery:
    """Return the images of a chart."""
    discovery = Discovery()
    ChartReader(discovery, ResourcePaths(), helm, 20).read(Chart(str(location), **options))
    return discovery


def images(discovery: Discovery) -> dict[str, How | None]:
    """Return the names of the found images, each with how it was found, if there is no problem."""
    assert discovery.problems == []
    return {str(image.name): image.how for image in discovery.found}


def chart_file(**annotations: str) -> str:
    """Return the main file of a chart; underscores in the names of annotations stand for slashes."""
    named = {key.replace("_", "/").replace("-", "."): value for key, value in annotations.items()}
    return json.dumps({"apiVersion": "v2", "name": "app", "version": "1.0.0", "annotations": named})


def make_chart(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write the files of a chart to a folder."""
    for name, content in {"Chart.yaml": chart_file(), **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def packed(files: Mapping[str, str | bytes]) -> bytes:
    """Return a chart as an archive, as ``helm package`` writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            entry = tarfile.TarInfo(f"app/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def test_images_of_rendered_chart_are_found(helm: str, tmp_path: Path) -> None:
    folder = make_chart(tmp_path / "app", {})

    assert images(read(helm, folder)) == {"docker.io/library/nginx:1": How.RENDERED}
    assert arguments_of(helm) == ["template", "--", "release-name", str(folder)]


def test_helm_has_options_of_chart(tmp_path: Path) -> None:
    helm = write_program(
        tmp_path / "helm", 'for each; do case "$each" in *.json) cp "${each#*=}" "$0.values";; esac; done'
    )
    values_file = tmp_path / "prod.yml"
    values_file.write_text("a: 1\n")

    read(
        helm,
        make_chart(tmp_path / "app", {}),
        values={"replicas": 2},
        values_files=(str(values_file),),
        kube_version="1.36",
        api_versions=("a/v1", "b/v1"),
        release="prod",
        namespace="team",
    )

    file, values, *rest = arguments_of(helm)[1:]
    assert file == f"--values={values_file}"
    assert values.startswith("--values=")
    assert json.loads(Path(f"{helm}.values").read_text()) == {"replicas": 2}
    assert rest == [
        *("--kube-version=1.36", "--api-versions=a/v1", "--api-versions=b/v1", "--namespace=team"),
        *("--", "prod", str(tmp_path / "app")),
    ]


def test_file_with_values_has_any_name(tmp_path: Path) -> None:
    helm = write_program(tmp_path / "helm")
    values_file = tmp_path / 'a,"b.yml'
    values_file.write_text("a: 1\n")

    read(helm, make_chart(tmp_path / "app", {}), values_files=(str(values_file),))

    # Helm reads the option as a line of CSV.
    assert arguments_of(helm)[1] == f'--values="{tmp_path}/a,""b.yml"'


def test_values_are_deleted_and_not_shown_in_problem(tmp_path: Path) -> None:
    helm = write_program(tmp_path / "helm", "echo the value canary-1 of canary-2 is wrong >&2; exit 1")
    values_file = tmp_path / "prod.yml"
    values_file.write_text("b: {c: [canary-2]}\n")

    discovery = read(helm, make_chart(tmp_path / "app", {}), values={"a": "canary-1"}, values_files=(str(values_file),))

    (problem,) = discovery.problems
    assert problem.message.endswith("cannot be rendered: helm failed: the value ******** of ******** is wrong")
    values = arguments_of(helm)[2].partition("=")[2]
    assert not Path(values).exists()


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("found in Chart.yaml, but missing in charts/ directory: db", "Run helm dependency build on the chart"),
        ("chart requires kubeVersion: >=1.25 which is incompatible with Kubernetes v1.20.0", "Set kube_version"),
    ],
)
def test_problem_of_helm_has_advice(tmp_path: Path, message: str, advice: str) -> None:
    helm = write_program(tmp_path / "helm", f"echo '{message}' >&2; exit 1")

    (problem,) = read(helm, make_chart(tmp_path / "app", {})).problems

    assert str(problem.advice).startswith(advice)


def test_chart_of_registry_is_downloaded(tmp_path: Path) -> None:
    archive = tmp_path / "app-1.0.0.tgz"
    archive.write_bytes(packed({"Chart.yaml": chart_file(**{"helm-sh_images": ANNOTATION})}))
    helm = write_program(
        tmp_path / "helm",
        f'[ "$1" = template ] || {{ cp "$0.arguments" "$0.pull"; for each; do case "$each" in --destination=*) '
        f'cp {archive} "${{each#*=}}"; esac; done; exit; }}',
    )

    discovery = read(helm, "oci://registry.example.com/charts/app", version="1.0.0", plain_http=True)

    assert len(images(discovery)) == 3
    assert {origin.chart for image in discovery.found for origin in image.origins} == {
        "oci://registry.example.com/charts/app"
    }
    pull = Path(f"{helm}.pull").read_text().splitlines()
    assert pull[0] == "pull"
    assert pull[2:] == ["--version=1.0.0", "--plain-http", "--", "oci://registry.example.com/charts/app"]
    assert arguments_of(helm)[-1].endswith("/app-1.0.0.tgz")


@pytest.mark.parametrize("annotation", ["artifacthub-io_images", "helm-sh_images"])
def test_images_in_annotation_are_found(helm: str, tmp_path: Path, annotation: str) -> None:
    folder = make_chart(tmp_path / "app", {"Chart.yaml": chart_file(**{annotation: ANNOTATION})})

    assert images(read(helm, folder)) == {
        "docker.io/library/nginx:1": How.RENDERED,
        "quay.io/team/agent:1": How.ANNOTATION,
        "quay.io/team/tool:2": How.ANNOTATION,
    }


def test_image_that_is_also_rendered_is_rendered(helm: str, tmp_path: Path) -> None:
    chart = chart_file(**{"helm-sh_images": "- docker.io/nginx:1\n"})

    assert images(read(helm, make_chart(tmp_path / "app", {"Chart.yaml": chart}))) == {
        "docker.io/library/nginx:1": How.RENDERED
    }


@pytest.mark.parametrize("is_packed", [False, True])
def test_annotations_of_sub_charts_are_found(helm: str, tmp_path: Path, is_packed: bool) -> None:
    def with_image(name: str) -> str:
        return chart_file(**{"helm-sh_images": f"- image: {name}\n"})

    innermost = packed({"Chart.yaml": with_image("c:1")})
    files: dict[str, str | bytes] = {
        "Chart.yaml": with_image("a:1"),
        "charts/b/Chart.yaml": with_image("b:1"),
        "charts/b/charts/c.tgz": innermost,
        "charts/d-1.0.0.tgz": packed({"Chart.yaml": with_image("d:1"), "charts/c.tgz": innermost}),
        "examples/Chart.yaml": with_image("other:1"),
        "files/e.tgz": packed({"Chart.yaml": with_image("other:1")}),
    }
    location = make_chart(tmp_path / "app", files)
    if is_packed:
        location = tmp_path / "app.tgz"
        location.write_bytes(packed(files))

    found = {name for name, how in images(read(helm, location)).items() if how is How.ANNOTATION}

    assert found == {f"docker.io/library/{name}:1" for name in "abcd"}


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ("image: a", "is not a list of images"),
        ("- name: a", "has an entry without an image"),
        ("- {{ .Values.image }}", "is not YAML|neither text nor"),
    ],
)
def test_invalid_annotation_is_problem(helm: str, tmp_path: Path, annotation: str, message: str) -> None:
    folder = make_chart(tmp_path / "app", {"Chart.yaml": chart_file(**{"helm-sh_images": annotation})})

    discovery = read(helm, folder)

    assert [str(image.name) for image in discovery.found] == ["docker.io/library/nginx:1"]
    (problem,) = discovery.problems
    assert "helm.sh/images in Chart.yaml" in problem.message
    assert re.search(message, problem.message)


def test_chart_that_does_not_exist_is_problem(helm: str, tmp_path: Path) -> None:
    (problem,) = read(helm, tmp_path / "missing").problems

    assert str(problem).startswith(f"the chart {tmp_path}/missing does not exist. ")


def test_encrypted_file_with_values_is_problem(helm: str, tmp_path: Path) -> None:
    vault = tmp_path / "vault.yml"
    vault.write_text("$ANSIBLE_VAULT;1.1;AES256\n00\n")

    (problem,) = read(helm, make_chart(tmp_path / "app", {}), values_files=(str(vault),)).problems

    assert "is encrypted by Ansible Vault" in problem.message
