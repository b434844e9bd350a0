# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The task reports referrers that cannot be copied, and copies the image without them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX
from unit.plugins.module_utils.support.engine_server import EngineServer
from unit.plugins.module_utils.support.images import (
    Image,
    encode,
    layer,
    make_image,
    write_docker_archive,
    write_layout,
)
from unit.plugins.module_utils.support.referrer_pushes import Run, push_all, push_one
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response, error_response
from unit.plugins.module_utils.support.upstream_servers import settings, source

from .test_referrer_jobs import entries, put_referrers, referrers_tag, sbom_of


@pytest.mark.parametrize("check_mode", [True, False])
def test_push_leaves_out_referrer_with_missing_blob(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, other_image: Image, check_mode: bool
) -> None:
    del upstream.blobs["team/app"][other_image.layers[1]]

    result = push_all(push, upstream, check_mode=check_mode)

    (entry,) = result["images"]
    assert entry["changed"]
    assert entry["referrers"]["copied"] == 0
    assert entry["referrers"]["left_out"][0].startswith("1 referrer: ")
    assert other_image.layers[1] in entry["referrers"]["left_out"][0]
    assert [f"of 1 of 1 images are not copied. {entry['name']}: " in each for each in result["warnings"]] == [True]
    assert (server.digest_of("team/app", "1") == signed.digest) is not check_mode


def test_push_leaves_out_unreadable_referrer_of_list(
    push: Run, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    good, bad = sbom_of(image, b"good"), sbom_of(image, b"bad")
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, bad, good)
    del upstream.manifests["team/app"][bad.digest]

    planned = push_all(push, upstream, check_mode=True)
    result = push_all(push, upstream)

    assert planned == result
    assert [entry["digest"] for entry in entries(server, image)] == [good.digest]
    assert result["images"][0]["referrers"]["copied"] == 1
    assert bad.digest in result["images"][0]["referrers"]["left_out"][0]


def test_push_leaves_out_referrer_that_registry_rejects(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    server.fail("PUT", referrers_tag(signed, ".sig"), error_response(405, "UNSUPPORTED"))

    result = push_all(push, upstream)

    assert not result.get("failed")
    assert server.digest_of("team/app", "1") == signed.digest
    assert len(result["images"]) == 1
    assert result["images"][0]["referrers"]["left_out"][0].startswith("1 referrer: manifest")
    assert len(result["warnings"]) == 1


def test_push_leaves_out_referrers_that_registry_does_not_list(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image
) -> None:
    upstream.fail("GET", "/referrers/", Response(422))

    result = push_all(push, upstream)

    assert server.digest_of("team/app", "1") == signed.digest
    assert "the referrers of" in result["images"][0]["referrers"]["left_out"][0]


def test_push_reports_signature_of_reduced_index(
    push: Run, upstream: RegistryServer, multi: Image, image: Image
) -> None:
    upstream.fill("team/app", "1", multi)
    upstream.fill("team/app", referrers_tag(multi, ".sig"), image)

    result = push_one(push, upstream, platforms=["linux/arm64"])

    assert result["images"][0]["referrers"] == {
        "copied": 0,
        "left_out": [f"1 referrer: they refer to {multi.digest}, of which only the selected platforms are copied"],
    }


@pytest.mark.parametrize("listed", [True, False])
def test_push_of_docker_archive_reports_no_referrers(push: Run, tmp_path: Path, image: Image, listed: bool) -> None:
    write_docker_archive(tmp_path / "app.tar", [(["app:1"], image)])

    result = push({"source": f"docker-archive:{tmp_path}/app.tar"} if listed else str(tmp_path / "app.tar"))

    assert result["changed"]
    assert "referrers" not in result["images"][0]
    assert "warnings" not in result


def test_push_prefers_image_to_different_referrer_with_its_target(
    push: Run, server: RegistryServer, upstream: RegistryServer, signed: Image, multi: Image, tmp_path: Path
) -> None:
    tag = referrers_tag(signed, ".sig")
    write_layout(tmp_path, {f"example.com/team/app:{tag}": multi})

    result = push(source(upstream), f"oci:{tmp_path}:example.com/team/app:{tag}", upstreams=settings(upstream))

    assert not result.get("failed")
    assert server.digest_of("team/app", tag) == multi.digest
    assert "like another image" in result["images"][0]["referrers"]["left_out"][0]


@pytest.mark.parametrize("dest", ["docker-archive:{}/app.tar", "docker-daemon:"])
def test_pull_reports_referrers_that_destination_cannot_store(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, dest: str
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", referrers_tag(image, ".sig"), other_image)
    put_referrers(server, "team/app", image, sbom_of(image))

    with EngineServer(tmp_path).running() as engine:
        entry = {"name": "team/app:1", "dest": dest.format(tmp_path)}
        planned = pull(entry, docker_host=engine.host, check_mode=True)
        result = pull(entry, docker_host=engine.host)
        server.requests.clear()
        again = pull(entry, docker_host=engine.host)

    assert planned == result
    assert not result.get("failed")
    (left_out,) = result["images"][0]["referrers"]["left_out"]
    assert left_out.startswith("2 referrers: ")
    assert left_out.endswith("cannot store referrers")
    (warning,) = result["warnings"]
    assert warning.startswith("Referrers, such as signatures, of 1 of 1 images are not copied. docker.io/team/app:1: ")
    assert not again["changed"]
    assert "warnings" not in again
    assert not any("sha256-" in request or "/referrers/" in request for request in server.received("HEAD", "GET"))


def test_pull_without_referrers_to_archive_of_docker_warns_about_nothing(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("team/app", "1", image)

    result = pull({"name": "team/app:1", "dest": f"docker-archive:{tmp_path}/app.tar"})

    assert "warnings" not in result
    assert "referrers" not in result["images"][0]


def test_pull_leaves_out_different_referrer_with_same_target(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, multi: Image
) -> None:
    for repository, signature in (("team/one", other_image), ("team/two", multi)):
        server.fill(repository, "1", image)
        server.fill(repository, referrers_tag(image, ".sig"), signature)
    dest = f"oci:{tmp_path}/app"

    result = pull({"name": "team/one:1", "dest": dest}, {"name": "team/two:1", "dest": dest})

    assert not result.get("failed"), result.get("msg")
    assert [each["referrers"]["copied"] for each in result["images"] if "referrers" in each] == [1, 0]
    assert "like another image" in result["images"][2]["referrers"]["left_out"][0]


def test_pull_rejects_different_referrer_with_same_target_if_it_is_required(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image, multi: Image
) -> None:
    for repository, signature in (("team/one", other_image), ("team/two", multi)):
        server.fill(repository, "1", image)
        server.fill(repository, referrers_tag(image, ".sig"), signature)
    dest = f"oci:{tmp_path}/app"

    with pytest.raises(InputError, match="like another image"):
        pull({"name": "team/one:1", "dest": dest}, {"name": "team/two:1", "dest": dest, "referrers": True})


def test_pull_commits_layout_without_referrer_that_is_damaged(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image, other_image: Image
) -> None:
    server.fill("team/app", "1", image)
    server.fill("team/app", referrers_tag(image, ".sig"), other_image)
    server.blobs["team/app"][other_image.layers[1]] = b"x" * len(server.blobs["team/app"][other_image.layers[1]])

    result = pull({"name": "team/app:1", "dest": f"oci-archive:{tmp_path}/app.tar"})

    assert not result.get("failed"), result.get("msg")
    assert [each["digest"] for each in result["images"]] == [image.digest]
    assert result["images"][0]["referrers"]["copied"] == 0
    assert (tmp_path / "app.tar").exists()


def test_warning_names_few_images_of_many(
    pull: Run, server: RegistryServer, tmp_path: Path, other_image: Image
) -> None:
    names = [f"team/app-{number}:1" for number in range(9)]
    for number, name in enumerate(names):
        image = make_image(layer("bin/app", b"%d" % number))
        repository = name.partition(":")[0]
        server.fill(repository, "1", image)
        server.fill(repository, referrers_tag(image, ".sig"), other_image)

    result = pull(*({"name": name, "dest": f"docker-archive:{tmp_path}/app.tar"} for name in names))

    (warning,) = result["warnings"]
    assert "of 9 of 9 images are not copied" in warning
    assert "team/app-4:1 and 4 more: 1 referrer: " in warning


def test_warning_has_one_period_after_reasons(
    push: Run, upstream: RegistryServer, signed: Image, other_image: Image
) -> None:
    del upstream.blobs["team/app"][other_image.layers[1]]

    (warning,) = push_all(push, upstream)["warnings"]

    assert ". images[].referrers.left_out" in warning
    assert ".." not in warning


@pytest.mark.parametrize("check_mode", [True, False])
def test_push_leaves_out_list_of_referrers_that_is_too_large(
    push: Run, server: RegistryServer, upstream: RegistryServer, image: Image, check_mode: bool
) -> None:
    upstream.fill("team/app", "1", image)
    for number, registry in enumerate((upstream, server)):
        large = make_image(subject=image.root.to_json(), annotations={"number": str(number) * 3_000_000})
        put_referrers(registry, "team/app", image, large)

    result = push_all(push, upstream, check_mode=check_mode)

    assert not result.get("failed"), result["msg"]
    assert "more than" in result["images"][0]["referrers"]["left_out"][0]


def test_push_leaves_out_list_of_referrers_whose_tag_has_an_image(
    push: Run, server: RegistryServer, upstream: RegistryServer, image: Image, other_image: Image
) -> None:
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, sbom_of(image))
    server.fill("team/app", referrers_tag(image), other_image)

    result = push_all(push, upstream)

    assert server.digest_of("team/app", referrers_tag(image)) == other_image.digest
    assert not result.get("failed")
    assert "has an image, not a list of referrers" in result["images"][0]["referrers"]["left_out"][0]


def test_push_keeps_existing_entries_with_unknown_media_types(
    push: Run, server: RegistryServer, upstream: RegistryServer, image: Image
) -> None:
    existing = {"mediaType": "text/plain", "digest": digest_of(b"notes"), "size": 5}
    index = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [existing]})
    upstream.fill("team/app", "1", image)
    put_referrers(upstream, "team/app", image, sbom_of(image))
    server.fill(
        "team/app",
        referrers_tag(image),
        Image(Descriptor(OCI_INDEX, digest_of(index), len(index)), {digest_of(index): index}),
    )
    server.blobs["team/app"] = {digest_of(b"notes"): b"notes"}

    result = push_all(push, upstream)

    # The registry accepts no such list again.
    assert entries(server, image) == [existing]
    assert not result.get("failed"), result["msg"]
    assert result["images"][0]["referrers"]["copied"] == 0
