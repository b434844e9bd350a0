# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images of objects: templates of Pods, lists and custom resources."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.collection import Origin
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.custom_resources import ResourcePaths
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.workloads import WORKLOAD_KINDS
from hypothesis import given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.found_images import IMAGE, found, guessed, item, pod_spec, search

TEMPLATE = "spec.template.container.image"


def paths_of(value: Any) -> list[str]:
    """Return the paths of the found images."""
    return [origin.path for image in search(value).found for origin in image.origins]


def workload(kind: str, image: str = IMAGE) -> dict[str, Any]:
    """Return a workload of a built-in kind."""
    template = {"template": {"spec": pod_spec(image)}}
    specs = {"Pod": pod_spec(image), "CronJob": {"jobTemplate": {"spec": template}}}
    return item(kind, specs.get(kind, template))


@pytest.mark.parametrize("kind", WORKLOAD_KINDS)
def test_images_are_found_in_workload(kind: str) -> None:
    assert found(workload(kind)) == [IMAGE]


def test_images_of_all_kinds_of_containers_and_volumes_are_found() -> None:
    sections = {
        section: [{"name": "x", "image": f"registry.example.com/{section.lower()}:1"}]
        for section in ("initContainers", "containers", "ephemeralContainers")
    }
    volumes = [{"name": "a"}, {"name": "model", "image": {"reference": "registry.example.com/model:1"}}]

    value = item("Pod", {**sections, "volumes": volumes})

    names = ("containers", "ephemeralcontainers", "initcontainers", "model")
    assert found(value) == [f"registry.example.com/{name}:1" for name in names]
    assert "spec.volumes[1].image.reference" in paths_of(value)


def test_names_are_full_and_sorted_and_each_once() -> None:
    assert found(
        [workload("Pod", name) for name in ("nginx", "docker.io/nginx", "library/nginx:latest", "alpine:3")]
    ) == [
        "docker.io/library/alpine:3",
        "docker.io/library/nginx:latest",
    ]


def test_pod_template_of_unknown_kind_is_found_with_its_path() -> None:
    value = item("Rollout", {"template": {"spec": pod_spec()}}, "argoproj.io/v1alpha1", namespace="team")

    (image,) = search(value).found

    assert list(image.origins) == [
        Origin("app.yml", 1, "", "Rollout", "team", "app", "spec.template.spec.containers[0].image")
    ]


@given(st.recursive(st.just(None), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=20), st.data())
def test_images_in_nested_lists_are_all_found(shape: Any, data: st.DataObject) -> None:
    expected: list[str] = []

    def build(node: Any) -> Any:
        if node is None:
            expected.append(f"registry.example.com/app:{len(expected)}")
            built = workload(data.draw(st.sampled_from(sorted(WORKLOAD_KINDS))), expected[-1])
            return built if data.draw(st.booleans()) else {"spec": built["spec"]}
        kind = data.draw(st.sampled_from(("List", "DeploymentList", "PodList", "ThingList", "")))
        return {"kind": kind, "items": [build(each) for each in node]}

    assert found(build(shape)) == sorted(expected)


def test_item_of_typed_list_without_kind_has_kind_of_list() -> None:
    value = {"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [{"spec": {"template": {"spec": pod_spec()}}}]}

    ((origin,),) = [image.origins for image in search(value).found]

    assert (origin.kind, origin.path) == ("Deployment", "items[0].spec.template.spec.containers[0].image")


@pytest.mark.parametrize(
    ("kind", "api_version", "spec", "path"),
    [
        ("Prometheus", "monitoring.coreos.com/v1", {"image": IMAGE}, "spec.image"),
        ("Cluster", "postgresql.cnpg.io/v1", {"imageName": IMAGE}, "spec.imageName"),
        (
            "Workflow",
            "argoproj.io/v1alpha1",
            {"templates": [{"suspend": {}}, {"script": {"image": IMAGE}}]},
            "spec.templates[1].script.image",
        ),
        (
            "WorkflowTemplate",
            "argoproj.io/v1alpha1",
            {"templateDefaults": {"container": {"image": IMAGE}}},
            "spec.templateDefaults.container.image",
        ),
        (
            "Workflow",
            "argoproj.io/v1alpha1",
            {"templates": [{"dag": {"tasks": [{"inline": {"container": {"image": IMAGE}}}]}}]},
            "spec.templates[0].dag.tasks[0].inline.container.image",
        ),
        ("Sensor", "argoproj.io/v1alpha1", {"template": {"container": {"image": IMAGE}}}, TEMPLATE),
        ("EventSource", "argoproj.io/v1alpha1", {"template": {"container": {"image": IMAGE}}}, TEMPLATE),
        ("ClusterTask", "tekton.dev/v1beta1", {"steps": [{"image": IMAGE}]}, "spec.steps[0].image"),
        ("StepAction", "tekton.dev/v1", {"image": IMAGE}, "spec.image"),
        (
            "PipelineRun",
            "tekton.dev/v1",
            {"pipelineSpec": {"finally": [{"taskSpec": {"sidecars": [{"image": IMAGE}]}}]}},
            "spec.pipelineSpec.finally[0].taskSpec.sidecars[0].image",
        ),
        (
            "InferenceService",
            "serving.kserve.io/v1beta1",
            {"predictor": {"model": {"image": IMAGE}}},
            "spec.predictor.model.image",
        ),
        ("Image", "caching.internal.knative.dev/v1alpha1", {"image": IMAGE}, "spec.image"),
    ],
)
def test_known_field_of_custom_resource_is_found(kind: str, api_version: str, spec: Any, path: str) -> None:
    assert paths_of(item(kind, spec, api_version)) == [path]


def test_known_field_is_not_found_in_other_group() -> None:
    value = item("Prometheus", {"image": IMAGE}, "example.com/v1")

    assert found(value) == []
    assert guessed(value) == [IMAGE]


@pytest.mark.parametrize("kind", ["Database", "Database.example.com"])
def test_extra_path_is_found(kind: str) -> None:
    value = item("Database", {"sidecars": {"a": {"images": [{"ref": IMAGE}]}}}, "example.com/v1")

    assert found(value, extra_paths={kind: ["spec.sidecars.*.images[].ref"]}) == [IMAGE]


@pytest.mark.parametrize("paths", [["spec..image"], ["spec.image[0]"], [7], {"a": "b"}])
def test_extra_path_is_rejected_if_invalid(paths: Any) -> None:
    with pytest.raises(InputError, match="extra_paths of Database"):
        ResourcePaths({"Database": paths})


def test_images_of_operator_bundle_are_found() -> None:
    variables = [{"name": "RELATED_IMAGE_DB", "value": "registry.example.com/db:1"}]
    deployments = [{"name": "operator", "spec": {"template": {"spec": pod_spec(env=variables)}}}]
    spec = {
        "install": {"spec": {"deployments": deployments}},
        "relatedImages": [{"name": "proxy", "image": "registry.example.com/proxy:1"}],
    }

    value = item("ClusterServiceVersion", spec, "operators.coreos.com/v1alpha1")

    assert found(value) == ["registry.example.com/db:1", "registry.example.com/proxy:1", IMAGE]


def test_related_images_of_catalog_are_found() -> None:
    assert found({"schema": "olm.bundle", "relatedImages": [{"name": "", "image": IMAGE}]}) == [IMAGE]


@pytest.mark.parametrize("kind", ["Secret", "CustomResourceDefinition"])
def test_secrets_and_schemas_are_not_searched(kind: str) -> None:
    value = {"kind": kind, "stringData": {"image": IMAGE}, "spec": {"example": pod_spec()}}

    assert (found(value), guessed(value)) == ([], [])


@pytest.mark.parametrize("name", ["{{ .Values.image }}", "$(IMAGE)", "Team/App:1", "app:"])
def test_invalid_name_of_container_is_problem_with_its_field(name: str) -> None:
    discovery = search(workload("Deployment", name))

    (problem,) = discovery.problems
    assert problem.message.startswith("spec.template.spec.containers[0].image of Deployment app in app.yml: ")


@pytest.mark.parametrize("group", ["argoproj.io/v1alpha1", "tekton.dev/v1"])
def test_expression_of_workflow_is_skipped(group: str) -> None:
    name = "{{inputs.parameters.image}}" if "argo" in group else "$(params.image)"
    discovery = search(item("Thing", {"template": {"spec": pod_spec(name)}}, group))

    assert discovery.problems == []
    assert [each.reason for each in discovery.skipped] == ["its controller computes the image when it runs"]


@pytest.mark.parametrize("pattern", ["!*:latest", "*/app", "{{ request.object.image }}"])
def test_pattern_of_policy_is_no_problem(pattern: str) -> None:
    rules = [{"validate": {"pattern": {"spec": pod_spec(pattern)}}}, {"generate": {"data": {"spec": pod_spec()}}}]
    discovery = search(item("ClusterPolicy", {"rules": rules}, "kyverno.io/v1"))

    assert (discovery.problems, discovery.found) == ([], [])
    assert [str(image.name) for image in discovery.guesses] == [IMAGE]


def test_image_volume_is_found_beside_containers_without_image() -> None:
    spec = {"containers": [{"name": "main"}], "volumes": [{"name": "data", "image": {"reference": IMAGE}}]}

    assert paths_of(item("Thing", spec)) == ["spec.volumes[0].image.reference"]


def test_earlier_object_in_annotation_is_no_guess() -> None:
    annotation = {"kubectl.kubernetes.io/last-applied-configuration": f'{{"image":"{IMAGE}"}}'}

    assert guessed(item("Thing", {}, annotations=annotation)) == []


def test_image_that_istio_replaces_is_skipped() -> None:
    template = {"metadata": {"annotations": {"inject.istio.io/templates": "gateway"}}, "spec": pod_spec("auto")}
    discovery = search(item("Deployment", {"template": template}))

    assert (discovery.found, discovery.guesses) == ([], [])
    assert len(list(discovery.skipped)) == 1


KEYS = (
    *(
        "kind",
        "items",
        "metadata",
        "annotations",
        "spec",
        "template",
        "containers",
        "volumes",
        "image",
        "name",
        "value",
    ),
    *("env", "relatedImages", "repository", "tag", "services", "build", "apiVersion", "reference", "hub", "version"),
)
TEXT = '{"image": {"name": "a/b", "tag": 1}, "text": "hub: a\\ntag: 1\\nimage: b"}'
JSON: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(("", "List", "auto", IMAGE, "{{", "a/b:1", "@", "/", TEXT)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_search_of_any_value_ends_without_exception(value: Any) -> None:
    search(value)
