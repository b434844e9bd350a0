# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers of peers: one function parses them, and none ends in an exception of Python."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.readiness import readiness_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.decimal import parse_decimal
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import load_json_object, parse_manifest
from unit.plugins.module_utils.support.images import Image, write_layout
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response

PLUGINS = Path(__file__).parents[4] / "plugins"
Change = Callable[[Response], Response]
TEXTS = ["9" * 5000, "9" * 400, "-1", "+1", "1_0", " 1", "1e999", "NaN", "inf", "\u00b2", "0x10", ""]
HEADERS = {
    "Content-Length": "{}",
    "Content-Range": "bytes 0-{0}/{0}",
    "OCI-Chunk-Min-Length": "{}",
    "Range": "0-{}",
    "Retry-After": "{}",
}
"""Headers with numbers, and their forms."""
JSON = ["9" * 5000, "9" * 400, "-1", "1e999", "-1e999", "1.5", "NaN", "Infinity", '"5"', "true", "null", "[]"]


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("9" * 19, 10**19 - 1)])
def test_decimal_number_has_1_to_19_digits(text: str, number: int) -> None:
    assert parse_decimal(text) == number


@pytest.mark.parametrize("text", [*TEXTS, "9" * 20, "\u0663", "1\n"])
def test_other_text_is_no_decimal_number(text: str) -> None:
    assert parse_decimal(text) is None


def conversions() -> Iterator[str]:
    """Yield the calls of ``int`` and ``float`` for decimal numbers. ``int`` with base 8 or 16 accepts any length."""
    # YAML has a grammar of its own for numbers.
    for path in set(PLUGINS.rglob("*.py")) - {PLUGINS / "module_utils/_k8scr/files/yaml_text.py"}:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("int", "float") and len(node.args) == 1:
                yield f"{path.stem}: {ast.unparse(node)}"


def test_only_one_function_converts_texts_to_numbers() -> None:
    assert list(conversions()) == ["decimal: int(text)"]


def with_header(name: str, value: str) -> Change:
    """Return a change that sets a header."""
    return lambda response: replace(response, headers={**response.headers, name: value})


@pytest.mark.parametrize("value", [value for value in TEXTS if value != "\u00b2"])
@pytest.mark.parametrize("header", HEADERS)
def test_number_in_header_ends_in_result(
    push: Callable[..., dict[str, Any]],
    pull: Callable[..., dict[str, Any]],
    server: RegistryServer,
    tmp_path: Path,
    large_image: Image,
    header: str,
    value: str,
) -> None:
    write_layout(tmp_path / "layout", {"app:1": large_image})
    server.cut("PATCH", "uploads", 1000)
    # With a wrong Content-Length, the client waits for a body; a response to HEAD has none.
    for method in ("HEAD",) if header == "Content-Length" else ("HEAD", "GET", "POST", "PATCH", "PUT"):
        server.fail(method, "", with_header(header, HEADERS[header].format(value)), times=4)

    pushed = push(f"oci:{tmp_path / 'layout'}")
    pulled = pull({"name": "app:1", "dest": f"oci:{tmp_path / 'pulled'}"})

    assert {type(result["changed"]) for result in (pushed, pulled)} == {bool}


@pytest.mark.parametrize("size", JSON)
def test_size_in_descriptor_is_rejected(size: str) -> None:
    config = f'{{"mediaType": "a/b", "digest": "sha256:{"0" * 64}", "size": {size}}}'
    manifest = f'{{"mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {config}, "layers": []}}'

    with pytest.raises(InputError):
        parse_manifest(manifest.encode())


@pytest.mark.parametrize("number", [text for text in JSON if text not in ("NaN", "Infinity", "9" * 5000)])
@pytest.mark.parametrize("kind", ["DaemonSet", "Deployment", "Job", "StatefulSet"])
def test_number_in_status_of_object_ends_in_readiness(kind: str, number: str) -> None:
    names = ("replicas", "updatedReplicas", "readyReplicas", "numberAvailable", "succeeded", "observedGeneration")
    section = "{" + ", ".join(f'"{name}": {number}' for name in (*names, "completions", "generation")) + "}"
    value = load_json_object(section.encode(), "the status")

    assert isinstance(readiness_of({"kind": kind, "spec": value, "status": value, "metadata": value}).ready, bool)
