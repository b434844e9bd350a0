# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Texts with manifests and compose files: documents, lines of problems, and hostile texts."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.collection import Discovery, How, Origin
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.custom_resources import ResourcePaths
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.discovery.manifests import MAXIMUM_SIZE, find_in_text

POD = """\
kind: Pod
metadata: {name: app}
spec:
  containers:
    - name: main
      image: IMAGE
"""


def search(text: str, origin: Origin | None = None, how: How = How.MANIFEST) -> Discovery:
    """Return the images in a text."""
    discovery = Discovery()
    find_in_text(text, origin or Origin(file="app.yml"), discovery, ResourcePaths(), how)
    return discovery


def names(discovery: Discovery) -> list[str]:
    """Return the names of the found images, if there is no problem."""
    assert discovery.problems == []
    return [str(image.name) for image in discovery.found]


def problem_of(text: str) -> str:
    """Return the only problem of a text."""
    (problem,) = search(text).problems
    return str(problem)


def test_images_of_all_documents_are_found_with_their_numbers() -> None:
    discovery = search(
        "---\n".join(("# comment\n", POD.replace("IMAGE", "a:1"), "null\n", POD.replace("IMAGE", "b:1")))
    )

    origins = {str(image.name): [origin.document for origin in image.origins] for image in discovery.found}
    assert origins == {"docker.io/library/a:1": [1], "docker.io/library/b:1": [3]}


def test_json_list_is_searched() -> None:
    assert names(search('{"kind": "List", "items": [{"spec": {"containers": [{"image": "a:1"}]}}]}')) == [
        "docker.io/library/a:1"
    ]


def test_byte_order_mark_of_joined_file_is_ignored() -> None:
    second = POD.replace("IMAGE", "b:2")
    discovery = search(f"\ufeff{POD.replace('IMAGE', 'a:1')}---\n\ufeff{second}")

    assert discovery.problems == []
    assert [image.name.path for image in discovery.found] == ["library/a", "library/b"]


def test_invalid_name_is_problem_with_file_and_line() -> None:
    text = POD.replace("IMAGE", "a:1") + "---\n" + POD.replace("IMAGE", "'{{ .Values.image }}'")

    message = problem_of(text)

    assert message.startswith("spec.containers[0].image of Pod app in app.yml, line 13: ")
    assert message.endswith("Render the template first; for a chart, use charts.")


def test_template_without_quotes_is_problem_with_file_and_line() -> None:
    message = problem_of(POD.replace("IMAGE", "{{ .Values.image }}"))

    assert message.startswith("app.yml, line 6,")
    assert message.endswith("If it is a template, render it first; for a chart, use charts.")


def test_invalid_yaml_is_problem_with_file_and_line() -> None:
    assert problem_of("a: 1\nb: [\n").startswith("app.yml is not YAML (line 3)")


def test_compose_file_has_images_of_services_and_defaults_of_variables() -> None:
    text = """\
services:
  web: {image: "team/web:${TAG:-1.2}"}
  db: {image: "postgres@${DIGEST-sha256:%s}"}
  own: {build: .}
volumes: {data: {}}
""" % ("a" * 64)
    discovery = search(text)

    assert names(discovery) == [f"docker.io/library/postgres@sha256:{'a' * 64}", "docker.io/team/web:1.2"]
    assert [str(each.origin) for each in discovery.skipped] == ["services.own of service own in app.yml"]


def test_variable_of_compose_file_without_default_is_problem_with_line() -> None:
    message = problem_of("services:\n  web:\n    image: team/web:${TAG}\n")

    assert message.startswith("services.web.image of service web in app.yml, line 3: ")
    assert "docker compose config" in message


def test_rendered_document_has_file_of_its_template() -> None:
    text = f"---\n# Source: app/templates/a.yaml\n{POD}---\n# Source: app/charts/b/templates/b.yaml\n{POD}"
    discovery = search(text.replace("IMAGE", "a:1"), Origin(chart="./app"), How.RENDERED)

    ((first, second),) = [image.origins for image in discovery.found]
    assert [first.file, second.file] == ["app/templates/a.yaml", "app/charts/b/templates/b.yaml"]


@pytest.mark.parametrize("hook", ["test", "test-success", "post-install, test"])
def test_pod_of_helm_test_is_skipped_in_rendered_chart(hook: str) -> None:
    text = POD.replace("{name: app}", f'{{name: app, annotations: {{helm.sh/hook: "{hook}"}}}}')
    discovery = search(text, Origin(chart="./app"), How.RENDERED)

    assert names(discovery) == []
    assert [each.reason for each in discovery.skipped] == ["only helm test creates it"]


def test_hook_that_helm_install_runs_is_found() -> None:
    text = POD.replace("{name: app}", "{name: app, annotations: {helm.sh/hook: pre-install}}").replace("IMAGE", "a:1")

    assert names(search(text, Origin(chart="./app"), How.RENDERED)) == ["docker.io/library/a:1"]


def test_name_has_bounded_number_of_origins() -> None:
    text = "x: &p {containers: [{image: a}]}\nl: [" + "*p, " * 500 + "]\n"

    (image,) = search(text).found
    assert (len(image.origins), image.count) == (20, 501)


def test_number_of_searched_values_is_bounded() -> None:
    text = "a: &a [" + "7, " * 100_000 + "]\nb: [" + "*a, " * 20 + "]\n"

    assert problem_of(text) == "document 1 of app.yml has more than 1000000 values"


def test_number_of_problems_is_bounded() -> None:
    text = "x: &p {containers: [{image: A}]}\nl: [" + "*p, " * 500 + "]\n"

    discovery = search(text)
    assert (len(discovery.problems), discovery.more_problems) == (100, 401)


ALIASES = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijklmnopqrstuv", "bcdefghijklmnopqrstuvw")
)
HOSTILE = {
    "aliases": ALIASES,
    "flat aliases": "a: &a [" + "[]," * 100_000 + "]\nb: [" + "*a," * 50 + "]\n",
    "depth": "[" * 100_000,
    "JSON depth": '{"a":' * 100_000,
    "long name": POD.replace("IMAGE", "a" * 5_000_000),
    "long text": "a: " + "registry.example.com/a:1/" * 100_000,
    "different words": "a: " + "".join(f"a.b/c{number}:1 " for number in range(300_000)),
    "long keys": json.dumps({"k" * 1_000_000: {"containers": [{"image": f"a:{number}"} for number in range(1000)]}}),
    "many words": "a: " + "a.b/c " * 300_000,
    "many names": "a:\n" + "".join(f"- a.example.com/b:{number}\n" for number in range(20_000)),
    "size": "a: " + "x" * MAXIMUM_SIZE,
    "documents": "---\n" * 1_000_000,
    "JSON documents": "{}" * 1_000_000,
    "long name of service": "services: {a: {image: '" + "A" * 5_000_000 + "'}}",
    "long name of operator": "relatedImages: [{image: '" + "a-" * 2_500_000 + "'}]",
    "long paths": "kind: Thing\n"
    + "".join(" " * level + "k" * 99 + ":\n" for level in range(180))
    + "".join(" " * 180 + f"- a.example.com/b:{number}\n" for number in range(9000)),
    "product of aliases": "kind: Workflow\napiVersion: argoproj.io/v1\nx: &a {sidecars: ["
    + "{}," * 3000
    + "]}\nspec: {templates: ["
    + "*a," * 1800
    + "]}\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_takes_little_time_and_memory(text: str) -> None:
    tracemalloc.start()
    begin = time.process_time()

    discovery = search(text)

    seconds = time.process_time() - begin
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 30
    assert peak < 64 << 20
    assert all(len(str(problem)) < 3000 for problem in discovery.problems)
