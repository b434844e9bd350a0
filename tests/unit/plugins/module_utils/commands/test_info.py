# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_info``: selections of images, comparison with a lock file, referrers and failures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands import info
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.referrers import fallback_tag
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry import inventory_reader
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import ClusterRegistry
from unit.plugins.module_utils.support.images import Image, describe, encode, layer, make_image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.settings import module_options

Info = Callable[..., dict[str, Any]]
POD: dict[str, Any] = {
    "spec": {
        "containers": [
            {"name": "registry", "volumeMounts": [{"name": "storage", "mountPath": "/var/lib/registry"}]},
            {"name": "mirror", "ports": [{"containerPort": 5001}]},
        ],
        "volumes": [{"name": "storage", "emptyDir": {"sizeLimit": "1Gi"}}],
    }
}


@pytest.fixture
def run(registry: ClusterRegistry, monkeypatch: pytest.MonkeyPatch) -> Info:
    """Runs a task of k8scr_info on the registry of the test, and returns its result."""

    @contextmanager
    def connect(*_arguments: Any, on_retry: Callable[[str, str], None], writes: bool) -> Iterator[ClusterRegistry]:
        assert not writes
        registry.retries.on_retry = on_retry
        yield registry

    monkeypatch.setattr(info, "connect_registry", connect)
    registry.api_server = Mock(**{"read_object.return_value": POD})
    return lambda **options: info.run_info(module_options(info.INFO_ARGUMENT_SPEC, **options), False)


@pytest.fixture
def lock(tmp_path: Path) -> Callable[[dict[str, str]], str]:
    """Writes a lock file and returns its path."""

    def write(entries: dict[str, str]) -> str:
        path = tmp_path / "images.lock.json"
        path.write_text(json.dumps(entries))
        return str(path)

    return write


def names_in(result: dict[str, Any]) -> list[str]:
    """Return the names of the images in a result."""
    return [image["name"] for image in result["images"]]


def missing_in(result: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Return the names of the missing images in a result, and the stored digests."""
    return [(image["name"], image["stored"]) for image in result["missing"]]


def signature_of(subject: Image, algorithm: str = "sha256") -> Image:
    """Return an artifact that refers to an image."""
    return make_image(
        layer("signature", subject.digest.encode()),
        algorithm=algorithm,
        subject=describe(subject.contents[subject.digest], subject.root.media_type, algorithm),
        artifactType="application/vnd.example.signature",
    )


def test_info_returns_totals_capacity_and_properties(
    server: RegistryServer, run: Info, image: Image, multi: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "latest", image)
    server.fill("team/multi", "1", multi)
    result = run()
    assert result["changed"] is False
    assert result["registry"] == {
        "software": "distribution 3",
        "delete": None,
        "referrers_api": False,
        "read_only": True,
    }
    contents = {**image.contents, **multi.contents}
    assert result["totals"] == {
        "repositories": 2,
        "tags": 3,
        "manifests": 4,
        "blobs": len(contents) - 4,
        "bytes": sum(map(len, contents.values())),
        "capacity": 1 << 30,
        "capacity_source": "emptyDir",
    }
    assert (result["missing"], result["incomplete"], result["retries"]) == ([], [], [])


def test_info_returns_platforms_with_digests_and_sizes(server: RegistryServer, run: Info, multi: Image) -> None:
    server.fill("team/multi", "1", multi)
    (image,) = run()["images"]
    children = [entry["digest"] for entry in multi.manifest["manifests"]]
    sizes = []
    for child in children:
        manifest = json.loads(multi.contents[child])
        sizes.append(len(multi.contents[child]) + sum(b["size"] for b in (manifest["config"], *manifest["layers"])))
    assert image["platforms"] == [
        {"platform": platform, "digest": digest, "size": size}
        for platform, digest, size in zip(["linux/amd64", "linux/arm64"], children, sizes, strict=True)
    ]
    assert image["size"] == multi.size


def test_info_sends_only_read_requests(server: RegistryServer, run: Info, image: Image) -> None:
    server.fill("team/app", "1", image)
    run(verify="content", referrers=True, images=["team/app:1", "team/app:2"], repositories=["*"])
    assert {request.method for request in server.requests} == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["other/app:1", "team/api:1", "team/app:1"]),
        ({"repositories": ["team/*"]}, ["team/api:1", "team/app:1"]),
        ({"repositories": ["*/app", "team/a?i"]}, ["other/app:1", "team/api:1", "team/app:1"]),
        ({"repositories": ["team/app"]}, ["team/app:1"]),
        ({"repositories": []}, []),
        ({"images": ["quay.io/other/app:1"]}, ["other/app:1"]),
        ({"images": ["quay.io/other/app:1"], "repositories": ["team/app"]}, ["team/app:1", "other/app:1"]),
    ],
)
def test_info_lists_selected_images(
    server: RegistryServer, run: Info, image: Image, options: dict[str, Any], names: list[str]
) -> None:
    for repository in ("team/app", "team/api", "other/app"):
        server.fill(repository, "1", image)
    assert names_in(run(**options)) == names


def test_info_finds_named_image_in_repository_with_host(server: RegistryServer, run: Info, image: Image) -> None:
    server.fill("quay.io/team/app", "1", image)
    assert names_in(run(images=["quay.io/team/app:1"], qualify=True)) == ["quay.io/team/app:1"]
    assert missing_in(run(images=["quay.io/team/app:1"])) == [("quay.io/team/app:1", None)]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_info_of_named_images_and_repositories_needs_no_catalog(
    server: RegistryServer, run: Info, image: Image, other_image: Image, status: int
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "stable", image)
    server.fill("team/api", "1", other_image)
    server.fail("GET", "_catalog", error_response(status, "UNSUPPORTED"))
    result = run(images=["team/app:1", "team/app:9"], repositories=["team/api"])
    assert [image["tags"] for image in result["images"]] == [["1"], ["1", "stable"]]
    assert missing_in(result) == [("docker.io/team/app:9", None)]
    with pytest.raises(RegistryError, match="name the repositories in repositories, without patterns"):
        run(repositories=["team/*"])


def test_info_compares_images_with_lock_file(
    server: RegistryServer, run: Info, image: Image, other_image: Image, lock: Callable[[dict[str, str]], str]
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "2", image)
    config = image.manifest["config"]["digest"]
    path = lock(
        {
            "docker.io/team/app:1": image.digest,
            "docker.io/team/app:2": other_image.digest,
            "docker.io/team/app:3": image.digest,
            f"docker.io/team/app@{image.digest}": image.digest,
            f"docker.io/team/api@{image.digest}": image.digest,
            "quay.io/team/app:1": config,
        }
    )
    result = run(images=[], lock=path)
    assert missing_in(result) == [
        ("docker.io/team/app:2", image.digest),
        ("docker.io/team/app:3", None),
        (f"docker.io/team/api@{image.digest}", None),
    ]
    assert names_in(result) == ["team/app:1"]


def test_info_rejects_lock_file_without_verification(lock: Callable[[dict[str, str]], str], run: Info) -> None:
    path = lock({"docker.io/team/app:1": f"sha256:{'a' * 64}"})
    with pytest.raises(InputError, match="Use verify: manifests"):
        run(lock=path, verify="none")


@pytest.mark.parametrize("content", ["[]", "{", '{"app": "x"}', '{"app:1": 5}'])
def test_info_rejects_damaged_lock_file(tmp_path: Path, run: Info, content: str) -> None:
    path = tmp_path / "images.lock.json"
    path.write_text(content)
    with pytest.raises(InputError, match="is damaged"):
        run(lock=str(path))


def test_info_names_module_that_writes_missing_lock_file(tmp_path: Path, run: Info) -> None:
    with pytest.raises(InputError, match=r"missing\.json does not exist\. Check the path\. k8scr_push creates"):
        run(lock=str(tmp_path / "missing.json"))


def test_info_does_not_report_unreadable_locked_image_as_missing(
    server: RegistryServer, run: Info, image: Image, lock: Callable[[dict[str, str]], str]
) -> None:
    server.fill("team/app", "1", image)
    for method in ("GET", "HEAD"):
        server.fail(method, "manifests/1", error_response(500, "UNKNOWN"))
    result = run(images=[], lock=lock({"docker.io/team/app:1": image.digest}))
    assert result["missing"] == []
    assert [each["name"] for each in result["incomplete"]] == ["team/app:1"]


def test_info_reports_image_that_is_named_several_times_once(
    server: RegistryServer, run: Info, image: Image, lock: Callable[[dict[str, str]], str]
) -> None:
    server.fill("team/app", "broken", image)
    for method in ("GET", "HEAD"):
        server.fail(method, "manifests/broken", error_response(500, "UNKNOWN"))
    names = ["team/app:broken", f"team/app@{image.digest}", "team/none:1"]
    server.fail("HEAD", f"manifests/{image.digest}", error_response(500, "UNKNOWN"))
    entries = {"docker.io/team/none:1": image.digest, "docker.io/team/lost:1": image.digest}
    result = run(repositories=["*"], images=names * 2, lock=lock(entries))
    assert [each["name"] for each in result["incomplete"]] == ["team/app:broken", f"team/app@{image.digest}"]
    assert result["totals"]["tags"] == 1
    assert [(each["name"], each["digest"]) for each in result["missing"]] == [
        ("docker.io/team/none:1", image.digest),
        ("docker.io/team/lost:1", image.digest),
    ]


def test_info_counts_repositories_of_named_images(server: RegistryServer, run: Info, image: Image) -> None:
    server.fill("team/app", "1", image)
    server.fill("other/app", "1", image)
    assert run(repositories=["team/app"], images=["other/app:1"])["totals"]["repositories"] == 2


def test_info_does_not_count_missing_repositories(server: RegistryServer, run: Info, image: Image) -> None:
    server.fill("team/app", "1", image)
    assert run(repositories=["team/app", "team/none"])["totals"]["repositories"] == 1


@pytest.mark.parametrize(
    ("patterns", "unmatched"),
    [
        (["team/app", "team/none"], ["team/none"]),
        (["team/*", "registry.example.com/team/*", "team/app:1"], ["registry.example.com/team/*", "team/app:1"]),
        (["broken"], []),
        (["*"], []),
    ],
)
def test_info_warns_about_patterns_without_images(
    server: RegistryServer,
    run: Info,
    image: Image,
    monkeypatch: pytest.MonkeyPatch,
    patterns: list[str],
    unmatched: list[str],
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(info, "warn", warnings.append)
    server.fill("team/app", "1", image)
    server.fail("GET", "broken/tags/list", error_response(500, "UNKNOWN"))
    run(repositories=patterns)
    assert warnings == [
        f"No image in the registry matches {pattern!r} in the option repositories." for pattern in unmatched
    ]


def test_info_of_too_many_images_advises_to_select_fewer(
    server: RegistryServer, run: Info, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "2", image)
    monkeypatch.setattr(inventory_reader, "_MOST_IMAGES", 1)
    with pytest.raises(RegistryError, match="Select fewer repositories"):
        run()


@pytest.mark.parametrize(("name", "shown"), [("\x1b[31mteam\napp", " [31mteam app"), ("a" * 1000, "a" * 400)])
def test_info_returns_invalid_names_of_catalog_printable_and_short(
    server: RegistryServer, run: Info, name: str, shown: str
) -> None:
    server.fail("GET", "_catalog", Response(200, {}, encode({"repositories": [name]})))
    (entry,) = run()["incomplete"]
    assert (entry["name"], entry["repository"]) == (shown, shown)


def test_info_returns_broken_tags_with_reason(server: RegistryServer, run: Info, image: Image) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", "broken", image)
    for method in ("GET", "HEAD"):
        server.fail(method, "manifests/broken", error_response(404, "MANIFEST_UNKNOWN"))
    result = run()
    assert names_in(result) == ["team/app:1"]
    (entry,) = result["incomplete"]
    assert (entry["name"], entry["digest"]) == ("team/app:broken", None)
    assert "lists the tag broken" in entry["error"]
    assert result["totals"]["tags"] == 2


def test_info_finds_referrers_by_fallback_tag_and_cosign_tag(
    server: RegistryServer, run: Info, image: Image, other_image: Image
) -> None:
    signature = signature_of(image)
    entry = {**describe(signature.contents[signature.digest], signature.root.media_type), "artifactType": "a/b"}
    content = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
    fallback = fallback_tag(image.digest)
    server.fill("team/app", "1", image)
    server.fill("team/app", None, signature)
    server.manifests["team/app"][fallback] = OCI_INDEX, content
    server.manifests["team/app"][describe(content, OCI_INDEX)["digest"]] = OCI_INDEX, content
    cosign = image.digest.replace(":", "-") + ".att"
    server.fill("team/app", cosign, other_image)
    images = {image["name"]: image for image in run(referrers=True)["images"]}
    assert set(images) == {"team/app:1", f"team/app:{fallback}", f"team/app:{cosign}"}
    found = [(each["digest"], each["artifact_type"], each["tag"]) for each in images["team/app:1"]["referrers"]]
    assert found == [(signature.digest, "a/b", None), (other_image.digest, None, cosign)]
    assert images[f"team/app:{cosign}"]["subject"] == images[f"team/app:{fallback}"]["subject"] == image.digest
    # Without a list of tags, the same referrers are looked up, and those without a tag are images.
    server.fail("GET", "tags/list", error_response(404, "NAME_UNKNOWN"))
    named = run(referrers=True, images=["team/app:1"])["images"]
    assert [each["digest"] for each in named[0]["referrers"]] == [signature.digest, other_image.digest]
    assert {image["name"] for image in named[1:]} == {f"team/app@{signature.digest}", f"team/app:{cosign}"}


def test_info_counts_untagged_referrers_of_referrers_api(server: RegistryServer, run: Info, image: Image) -> None:
    signature = signature_of(image)
    server.fill("team/app", "1", image)
    server.fill("team/app", None, signature)

    def listed(*entries: dict[str, Any]) -> Response:
        content = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        return Response(200, {"Content-Type": OCI_INDEX}, content)

    entry = describe(signature.contents[signature.digest], signature.root.media_type)
    server.fail("GET", f"referrers/{image.digest}", listed(entry))
    server.fail("GET", "referrers/", listed())
    result = run(referrers=True)
    assert names_in(result) == ["team/app:1", f"team/app@{signature.digest}"]
    contents = {**image.contents, **signature.contents}
    assert result["totals"]["bytes"] == sum(map(len, contents.values()))
    assert result["registry"]["referrers_api"] is True


@pytest.mark.parametrize(
    "entries", [[{"digest": "x"}], [5], [{}], ["x"]], ids=["no descriptor", "number", "empty", "text"]
)
def test_info_returns_image_with_malformed_list_of_referrers(
    server: RegistryServer, run: Info, image: Image, entries: list[Any]
) -> None:
    server.fill("team/app", "1", image)
    content = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    server.fail("GET", f"referrers/{image.digest}", Response(200, {"Content-Type": OCI_INDEX}, content))
    result = run(referrers=True)
    assert names_in(result) == ["team/app:1"]
    assert "cannot be used" in result["incomplete"][0]["error"]
    assert result["registry"]["referrers_api"] is None
