# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Texts in objects that may be names of images."""

from __future__ import annotations

import time
from typing import Any

import pytest
from unit.plugins.module_utils.support.found_images import IMAGE, found, guessed, item, pod_spec, search


def test_names_in_arguments_and_variables_are_guesses() -> None:
    container: dict[str, Any] = {
        "args": ["--reloader=quay.io/team/reloader:1", "--solver-image", "team/solver:2", "--listen=localhost:80/x"],
        "env": [
            {"name": "VERSIONS", "value": "4=quay.io/team/db:4\n5=quay.io/team/db:5"},
            {"name": "AGENT_IMAGE", "value": "quay.io/team/agent"},
            {"name": "URL", "value": "https://quay.io/team/page:1"},
        ],
    }

    value = item("Pod", pod_spec(**container))

    assert found(value) == [IMAGE]
    assert guessed(value) == [
        "docker.io/team/solver:2",
        "quay.io/team/agent:latest",
        "quay.io/team/db:4",
        "quay.io/team/db:5",
        "quay.io/team/reloader:1",
    ]


def test_found_image_is_no_guess() -> None:
    assert guessed(item("Pod", pod_spec(args=[f"--self={IMAGE}"]))) == []


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({"agent": {"repository": "quay.io/team/agent", "tag": "1.2"}}, "quay.io/team/agent:1.2"),
        ({"agent": {"registry": "quay.io", "repository": "team/agent", "tag": 17}}, "quay.io/team/agent:17"),
        ({"hub": "quay.io/istio", "image": "proxyv2", "tag": "1.2"}, "quay.io/istio/proxyv2:1.2"),
        ({"repository": "nvcr.io/nvidia", "image": "driver", "version": "v5"}, "nvcr.io/nvidia/driver:v5"),
        ({"baseImage": "quay.io/team/db", "tag": "v1"}, "quay.io/team/db:v1"),
        ({"repository": "quay.io/team/db", "sha": "a" * 64}, f"quay.io/team/db@sha256:{'a' * 64}"),
        ({"sidecarImage": "quay.io/team/sidecar"}, "quay.io/team/sidecar:latest"),
        ({"image": "quay.io/team/app", "version": "v2"}, "quay.io/team/app:v2"),
        ({"images": [{"image": "team/cni", "digest": f"sha256:{'a' * 64}"}]}, f"docker.io/team/cni@sha256:{'a' * 64}"),
        ({"image": "quay.io:443/team/app:1", "version": "2"}, "quay.io:443/team/app:1"),
        ({"image": {"name": "quay.io/team/app", "tag": "3"}}, "quay.io/team/app:3"),
        (
            {"containerImage": {"registry": "quay.io", "repository": "team", "name": "api", "tag": "3"}},
            "quay.io/team/api:3",
        ),
    ],
)
def test_fields_of_unknown_custom_resource_are_guesses(spec: Any, name: str) -> None:
    value = item("Thing", spec, "example.com/v1")

    assert found(value) == []
    assert guessed(value) == [name]


@pytest.mark.parametrize(
    "spec",
    [
        {"repository": "https://charts.example.com", "version": "1.2"},
        {"repository": "team/charts", "version": "1.2"},
        {"image": "logo"},
        {"image": {"name": "logo", "version": "3"}},
        {"image": "/usr/share/logo.png", "version": "3"},
        {"image": {"name": {"a": "b"}, "version": "3"}},
        {"image": "/usr/share/logo.png"},
        {"hostImage": "data:image/png;base64,AAAA"},
        {"text": "apps.example.com/v1 and 10.0.0.0/8 and registry.example.com:5000"},
    ],
)
def test_other_texts_are_no_guesses(spec: Any) -> None:
    assert guessed(item("Thing", spec, "example.com/v1")) == []


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"trivy.repository": "quay.io/team/trivy", "trivy.tag": "1.2"}, "quay.io/team/trivy:1.2"),
        ({"imageRepository": "quay.io/team/app", "imageTag": "1.2"}, "quay.io/team/app:1.2"),
        ({"DB_REGISTRY": "quay.io", "DB_REPOSITORY": "team/db", "DB_TAG": "4"}, "quay.io/team/db:4"),
    ],
)
def test_fields_with_common_prefix_are_one_guess(data: Any, name: str) -> None:
    assert guessed({"kind": "ConfigMap", "data": data}) == [name]


@pytest.mark.parametrize(
    "text",
    ['{"image":"team/app:1"}', '{"a": {"image" : "team/app:1"}}', "image = 'team/app:1'", "x\nimage: team/app:1\n"],
)
def test_name_after_image_in_text_is_guess(text: str) -> None:
    assert guessed({"kind": "ConfigMap", "data": {"config": text}}) == ["docker.io/team/app:1"]


@pytest.mark.parametrize("text", ["image: app:1\n", 'helper_image = "app:1"', '{"initImage":"app:1"}'])
def test_single_word_with_tag_after_image_in_text_is_guess(text: str) -> None:
    assert guessed({"kind": "ConfigMap", "data": {"config": text}}) == ["docker.io/library/app:1"]


@pytest.mark.parametrize("text", ["see the image, error:1", "image:\n  note: now:1", '{"image": {"note": "now:1"}}'])
def test_other_word_with_colon_in_text_is_no_guess(text: str) -> None:
    assert guessed({"kind": "ConfigMap", "data": {"config": text}}) == []


@pytest.mark.parametrize(
    "text",
    [
        "web:\n  image:\n    repository: quay.io/team/app\n    tag: '1'\n",
        '{"web": {"image": {"repository": "quay.io/team/app", "tag": "1"}}}',
        "values: |\n  image:\n    repository: quay.io/team/app\n    tag: '1'\n",
    ],
)
@pytest.mark.parametrize("field", ["values", "valuesContent"])
def test_repository_and_tag_in_text_are_guess_with_path(text: str, field: str) -> None:
    discovery = search(item("HelmChart", {field: text}, "helm.cattle.io/v1"))

    (image,) = discovery.guesses
    (origin,) = image.origins
    assert str(image.name) == "quay.io/team/app:1"
    assert origin.path.startswith(f"spec.{field}.")
    assert origin.path.endswith(".image")
    assert discovery.found == []


def test_containers_in_text_are_guessed_once() -> None:
    text = f"# tag: 1\nspec:\n  containers:\n  - name: a\n    image: {IMAGE}\n"
    (image,) = search({"kind": "ConfigMap", "data": {"pod": text}}).guesses

    assert [origin.path for origin in image.origins] == ["data.pod"]


@pytest.mark.parametrize("text", ["image: {{ .Values.image }}\ntag: 1", "image: [\ntag: 1", "image: &a\ntag: *b"])
def test_invalid_yaml_in_text_is_no_problem(text: str) -> None:
    discovery = search({"kind": "ConfigMap", "data": {"template": text}})

    assert (discovery.problems, discovery.guesses) == ([], [])


def test_repeated_texts_of_aliases_are_bounded() -> None:
    text = f"repository: &a {'a' * 100_000}\ntag: [{', '.join(['*a'] * 150)}]\n"
    discovery = search({"kind": "ConfigMap", "data": {str(number): text for number in range(200)}})

    assert "has more than 1000000 values" in discovery.problems[0].message


def test_long_word_in_text_is_searched_quickly() -> None:
    started = time.monotonic()

    assert guessed({"kind": "ConfigMap", "data": {"note": "{" + "image" * 200_000 + " tag:"}}) == []
    assert time.monotonic() - started < 5


def test_image_below_hub_and_tag_is_guess() -> None:
    values = '{"global": {"hub": "quay.io/istio", "tag": "1.2", "proxy": {"image": "proxyv2"}}, "x": {"image": "y"}}'

    assert guessed({"kind": "ConfigMap", "data": {"values": values}}) == ["quay.io/istio/proxyv2:1.2"]


@pytest.mark.parametrize(
    ("kind", "spec", "names"),
    [
        ("Elasticsearch", {"version": "9.1.0"}, ["docker.elastic.co/elasticsearch/elasticsearch:9.1.0"]),
        ("Beat.beat", {"type": "filebeat", "version": "9.1.0"}, ["docker.elastic.co/beats/filebeat:9.1.0"]),
        ("Kibana", {"version": "9.1.0", "image": IMAGE}, []),
        ("Kibana", {}, []),
        ("Kibana", {"version": {}}, []),
        ("Kibana", {"version": "not a tag"}, []),
    ],
)
def test_version_of_elastic_resource_is_guess_without_image(kind: str, spec: Any, names: list[str]) -> None:
    kind, _dot, group = kind.partition(".")
    value = item(kind, spec, f"{group or kind.lower()}.k8s.elastic.co/v1")

    assert guessed(value) == names


def test_config_map_has_guesses() -> None:
    assert guessed({"kind": "ConfigMap", "data": {"config": f"pod:\n  image: {IMAGE}\n"}}) == [IMAGE]
