# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures, attestations and SBOMs go along with the images that they are about."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX, Manifest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import OciLayoutSource
from unit.plugins.module_utils.support.engine_server import EngineServer
from unit.plugins.module_utils.support.images import (
    Image,
    describe,
    encode,
    layer,
    make_image,
    write_docker_archive,
    write_layout,
)
from unit.plugins.module_utils.support.registry_server import Answer, RegistryServer

Push = Callable[..., dict[str, Any]]
KIND = "application/vnd.example.sbom.v1"


@pytest.fixture
def upstream() -> Iterator[RegistryServer]:
    """A registry."""
    with RegistryServer().running() as running:
        yield running


def about(image: Image, content: bytes = b"what is in it") -> Image:
    """Return an artifact whose subject is an image."""
    annotations = {"org.example.made": "today"}
    return make_image(layer("sbom", content), subject=image.root.to_json(), artifactType=KIND, annotations=annotations)


def listing(*artifacts: Image) -> bytes:
    """Return a list of referrers."""
    entries = [
        {**artifact.root.to_json(), "artifactType": KIND, "annotations": artifact.manifest["annotations"]}
        for artifact in artifacts
    ]
    return encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def tag_of(image: Image, suffix: str = "") -> str:
    return image.digest.replace(":", "-") + suffix


def put_listing(server: RegistryServer, repository: str, image: Image, *artifacts: Image) -> None:
    for artifact in artifacts:
        server.fill(repository, None, artifact)
    content = listing(*artifacts)
    server.manifests[repository].update(dict.fromkeys((tag_of(image), digest_of(content)), (OCI_INDEX, content)))


def keep_lists(server: RegistryServer, lists: dict[str, bytes]) -> None:
    """Have a registry keep lists of referrers, by the digest of their subjects."""
    empty = listing()
    for digest, content in lists.items():
        server.fail("GET", f"/referrers/{digest}", Answer(200, {"Content-Type": OCI_INDEX}, content))
    server.fail("GET", "/referrers/", Answer(200, {"Content-Type": OCI_INDEX}, empty))


def source(server: RegistryServer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    host = server.url.partition("//")[2]
    return {"source": f"docker://{host}/team/app:1", "referrers": True}, [{"host": host, "plain_http": True}]


def push_from(push: Push, server: RegistryServer, **more: Any) -> dict[str, Any]:
    entry, upstreams = source(server)
    result = push({**entry, **more}, upstreams=upstreams)
    assert not result.get("failed"), result["msg"]
    return result


def entries(server: RegistryServer, image: Image) -> list[dict[str, Any]]:
    value = json.loads(server.manifests["team/app"][tag_of(image)][1])["manifests"]
    assert isinstance(value, list)
    return value


def test_what_cosign_has_tagged_goes_along(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    for suffix in (".sig", ".att", ".sbom"):
        upstream.fill("team/app", tag_of(image, suffix), other_image)

    result = push_from(push, upstream)
    again = push_from(push, upstream)

    assert [each["tag"] for each in result["images"]] == [
        "1",
        tag_of(image, ".att"),
        tag_of(image, ".sbom"),
        tag_of(image, ".sig"),
    ]
    assert {each["subject"] for each in result["images"][1:]} == {image.digest}
    assert server.digest_of("team/app", tag_of(image, ".sig")) == other_image.digest
    assert not again["changed"]


def test_without_being_asked_for_nothing_goes_along(
    push: Push, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    upstream.fill("team/app", tag_of(image, ".sig"), other_image)

    assert len(push_from(push, upstream, referrers=False)["images"]) == 1


def test_signatures_of_each_platform_go_along(
    push: Push, server: RegistryServer, upstream: RegistryServer, multi: Image, image: Image
) -> None:
    upstream.fill("team/app", "1", multi)
    child = multi.manifest["manifests"][1]["digest"]
    upstream.fill("team/app", f"{child.replace(':', '-')}.sig", image)

    push_from(push, upstream)

    assert server.digest_of("team/app", f"{child.replace(':', '-')}.sig") == image.digest


def test_a_list_under_its_tag_goes_along_where_no_registry_keeps_lists(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    put_listing(upstream, "team/app", image, about(image))

    push_from(push, upstream)
    again = push_from(push, upstream)

    assert entries(server, image) == json.loads(listing(about(image)))["manifests"]
    assert about(image).digest in server.manifests["team/app"]
    assert not again["changed"]


def test_what_others_have_put_into_the_list_stays(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    theirs, ours = about(image, b"theirs"), about(image, b"ours")
    server.fill("team/app", "1", image)
    put_listing(server, "team/app", image, theirs)
    upstream.fill("team/app", "1", image)
    put_listing(upstream, "team/app", image, ours)

    push_from(push, upstream)
    again = push_from(push, upstream)

    assert [entry["digest"] for entry in entries(server, image)] == [theirs.digest, ours.digest]
    assert not again["changed"]


def test_a_list_of_the_registry_is_asked_for_first_and_what_refers_to_referrers_is_found(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    sbom = about(image)
    signature = about(sbom, b"its signature")
    for each in (sbom, signature):
        upstream.fill("team/app", None, each)
    upstream.fill("team/app", "1", image)
    keep_lists(upstream, {image.digest: listing(sbom), sbom.digest: listing(signature)})

    push_from(push, upstream)

    assert [entry["digest"] for entry in entries(server, image)] == [sbom.digest]
    assert [entry["digest"] for entry in entries(server, sbom)] == [signature.digest]


def test_a_registry_that_keeps_lists_gets_no_tag_for_one(
    push: Push, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    put_listing(upstream, "team/app", image, about(image))
    keep_lists(server, {})

    result = push_from(push, upstream)

    assert result["images"][1]["target"] == f"team/app@{about(image).digest}"
    assert about(image).digest in server.manifests["team/app"]
    assert tag_of(image) not in server.manifests["team/app"]


def test_a_list_has_pages(push: Push, server: RegistryServer, upstream: RegistryServer, image: Image) -> None:
    first, second = about(image, b"first"), about(image, b"second")
    for each in (first, second):
        upstream.fill("team/app", None, each)
    upstream.fill("team/app", "1", image)
    link = f'</v2/team/app/referrers/{image.digest}?last=1>; rel="next"'
    page = {"Content-Type": OCI_INDEX}
    upstream.fail("GET", r"/referrers/.*\?last=1", Answer(200, page, listing(second)))
    upstream.fail("GET", f"/referrers/{image.digest}", Answer(200, {**page, "Link": link}, listing(first)))
    keep_lists(upstream, {})

    push_from(push, upstream)

    assert [entry["digest"] for entry in entries(server, image)] == [first.digest, second.digest]


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("/v2/secrets", "is not part of the list"),
        ("https://elsewhere.example.com/v2/x", "is not part of the list"),
        ("?again", "returned too many pages or entries"),
    ],
)
def test_push_does_not_request_pages_elsewhere_or_without_end(
    push: Push, upstream: RegistryServer, image: Image, link: str, message: str
) -> None:
    upstream.fill("team/app", "1", image)
    headers = {"Content-Type": OCI_INDEX, "Link": f'<{link}>; rel="next"'}
    upstream.fail("GET", "/referrers/", Answer(200, headers, listing()))
    entry, upstreams = source(upstream)

    result = push(entry, upstreams=upstreams)

    assert [bool(each.get("error")) for each in result["images"]] == [False, True]
    assert message in result["msg"]
    assert not any("secrets" in asked for asked in upstream.asked("GET"))


def test_a_damaged_list_is_said(push: Push, upstream: RegistryServer, image: Image) -> None:
    upstream.fill("team/app", "1", image)
    upstream.fail("GET", "/referrers/", Answer(200, {"Content-Type": OCI_INDEX}, b'{"manifests": [{}]}'))
    entry, upstreams = source(upstream)

    assert "the referrers of" in push(entry, upstreams=upstreams)["msg"]


def test_a_layout_has_referrers_as_entries_of_its_own(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    sbom = about(image)
    write_layout(tmp_path, {"team/app:1": image, "an sbom": sbom, tag_of(image, ".sig"): other_image})

    result = push({"source": f"oci:{tmp_path}:team/app:1", "referrers": True})

    assert not result.get("failed"), result["msg"]
    assert entries(server, image) == json.loads(listing(sbom))["manifests"]
    assert server.digest_of("team/app", tag_of(image, ".sig")) == other_image.digest


def test_with_platforms_what_refers_to_these_goes_along(
    push: Push, server: RegistryServer, upstream: RegistryServer, multi: Image, image: Image
) -> None:
    upstream.fill("team/app", "1", multi)
    amd64, arm64 = (entry["digest"].replace(":", "-") for entry in multi.manifest["manifests"])
    for tag in (amd64, arm64):
        upstream.fill("team/app", f"{tag}.sig", image)

    result = push_from(push, upstream, platforms=["linux/arm64"])

    assert [each["tag"] for each in result["images"]] == ["1", f"{arm64}.sig"]


def test_what_refers_to_two_images_of_a_task_goes_along_once(
    push: Push, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    for tag in ("1", "2"):
        upstream.fill("team/app", tag, image)
    upstream.fill("team/app", tag_of(image, ".sig"), other_image)
    entry, upstreams = source(upstream)

    result = push(entry, {**entry, "source": entry["source"][:-1] + "2"}, upstreams=upstreams)

    assert [each["tag"] for each in result["images"]] == ["1", tag_of(image, ".sig"), "2"]


def test_a_docker_archive_has_no_place_for_referrers(push: Push, tmp_path: Path, image: Image) -> None:
    write_docker_archive(tmp_path / "app.tar", [(["app:1"], image)])

    result = push({"source": f"docker-archive:{tmp_path}/app.tar", "referrers": True})

    assert "cannot store referrers. Use docker://" in result["msg"]
    assert result["images"][0]["changed"]


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_what_was_pulled_with_its_referrers_is_pushed_with_them(
    pull: Push, push: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, kind: str
) -> None:
    sbom = about(image)
    server.fill("team/app", "1", image)
    put_listing(server, "team/app", image, sbom)
    server.fill("team/app", tag_of(image, ".sig"), other_image)
    wanted = {"name": "example.com/team/app:1", "dest": f"{kind}:{tmp_path}/app", "referrers": True}

    planned = pull(wanted, check_mode=True)
    pulled = copy.deepcopy(pull(wanted))
    again = pull(wanted)
    server.manifests.clear()
    push({"source": f"{kind}:{tmp_path}/app:example.com/team/app:1", "referrers": True})

    assert planned == pulled
    assert [(each["tag"], each["digest"], each.get("subject")) for each in pulled["images"]] == [
        ("1", image.digest, None),
        (tag_of(image, ".sig"), other_image.digest, image.digest),
        (None, sbom.digest, image.digest),
    ]
    assert not again["changed"]
    assert server.digest_of("team/app", tag_of(image, ".sig")) == other_image.digest
    assert entries(server, image) == json.loads(listing(sbom))["manifests"]


@pytest.mark.parametrize("dest", ["docker-archive:{}/app.tar", "docker-daemon:"])
def test_a_place_that_has_none_for_referrers_gets_the_image_alone(
    pull: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, dest: str
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", tag_of(image, ".sig"), other_image)

    with EngineServer(tmp_path).running() as engine:
        wanted = {"name": "team/app:1", "dest": dest.format(tmp_path), "referrers": True}
        result = pull(wanted, docker_host=engine.host)

    assert [each["changed"] for each in result["images"]] == [True, False]
    assert "cannot store referrers. Use oci: or oci-archive:" in result["msg"]


def test_different_signatures_of_one_image_in_two_repositories_do_not_become_one(
    pull: Push, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, multi: Image
) -> None:
    for repository, signature in (("team/one", other_image), ("team/two", multi)):
        server.fill(repository, "1", image)
        server.fill(repository, tag_of(image, ".sig"), signature)
    dest = {"dest": f"oci:{tmp_path}/app", "referrers": True}

    with pytest.raises(InputError, match=r"would be written to .*\.sig, like another image"):
        pull({"name": "team/one:1", **dest}, {"name": "team/two:1", **dest})

    assert not (tmp_path / "app").exists()


def test_of_an_image_that_is_not_there_nothing_is_looked_for(
    pull: Push, server: RegistryServer, tmp_path: Path
) -> None:
    result = pull({"name": "team/app:1", "dest": f"oci:{tmp_path}/app", "referrers": True})

    assert len(result["images"]) == 1
    assert "there is no image 1 in repository team/app" in result["msg"]
    assert server.asked("GET") == []


def test_what_refers_to_the_many_images_of_a_layout_is_found_out_once(
    push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {f"app:{number}": make_image(layer("bin/app", bytes([number]))) for number in range(9)}
    write_layout(
        tmp_path, {**images, **{f"about:{number}": about(image) for number, image in enumerate(images.values())}}
    )
    read: list[str] = []
    fetch = OciLayoutSource.fetch_manifest

    def noted(layout: OciLayoutSource, descriptor: Descriptor) -> Manifest:
        read.append(descriptor.digest)
        return fetch(layout, descriptor)

    monkeypatch.setattr(OciLayoutSource, "fetch_manifest", noted)

    push({"source": f"oci:{tmp_path}", "referrers": True})

    assert max(Counter(read).values()) < len(images)


def test_a_thing_in_a_layout_that_is_no_manifest_refers_to_nothing(
    push: Push, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    write_layout(tmp_path, {"app:1": image, "about:1": about(image)})
    thing = b'{"mediaType": "application/vnd.example.thing"}'
    (tmp_path / f"blobs/{digest_of(thing).replace(':', '/')}").write_bytes(thing)
    index = json.loads((tmp_path / "index.json").read_bytes())
    index["manifests"].append(describe(thing, "application/vnd.example.thing"))
    (tmp_path / "index.json").write_bytes(encode(index))

    result = push({"source": f"oci:{tmp_path}:app:1", "referrers": True})

    assert result["changed"], result.get("msg")
    assert about(image).digest in server.manifests["library/app"]
