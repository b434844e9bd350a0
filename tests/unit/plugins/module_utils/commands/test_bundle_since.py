# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_bundle`` with ``since``: the bundle has only what the other side does not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.bundle_check import verify_bundle_at
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, SourceError
from unit.plugins.module_utils.support.bundle_tasks import blobs, bundle_to, check_sums, description, tree
from unit.plugins.module_utils.support.images import Image, layer, make_image, make_index, write_layout
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.upstream_servers import host, settings, source

pytestmark = pytest.mark.usefixtures("no_credentials", "clock")

BASE = layer("bin/app", b"the program")
OLD = make_image(BASE, layer("etc/app.conf", b"its settings"))
NEW = make_image(BASE, layer("etc/app.conf", b"other settings"))


@pytest.fixture
def upstream(upstream: RegistryServer) -> RegistryServer:
    """An upstream registry with two versions of an image, which share a layer, and another image."""
    upstream.fill("team/app", "1", OLD)
    upstream.fill("team/app", "2", NEW)
    upstream.fill("team/web", "1", make_image(layer("web", b"pages")))
    return upstream


def reported(repository: str, tag: str, image: Image, **more: Any) -> dict[str, Any]:
    """Return the entry of an image in the result of k8scr_info."""
    name = f"{repository}:{tag}"
    return {"name": name, "repository": repository, "tags": [tag], "digest": image.digest, "platforms": [], **more}


def write_info(path: Path, *images: dict[str, Any]) -> str:
    """Write the result of k8scr_info on the other side."""
    path.write_text(json.dumps({"changed": False, "images": list(images), "totals": {}}))
    return str(path)


def layers_in(folder: Path, image: Image) -> list[str]:
    """Return the layers of an image that a bundle has."""
    return [digest for digest in image.layers if digest in blobs(folder)]


def test_bundle_leaves_out_image_that_other_side_has_under_same_name_and_digest(
    upstream: RegistryServer, tmp_path: Path
) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    images = [source(upstream), source(upstream, "team/web:1")]

    result = bundle_to(tmp_path / "out", *images, upstreams=settings(upstream), since=since)

    assert [each.get("left_out") for each in result["images"]] == [True, None]
    assert result["images"][0]["digest"] == OLD.digest
    assert [each["name"] for each in description(tmp_path / "out")["images"]] == [f"{host(upstream)}/team/web:1"]
    assert description(tmp_path / "out")["base"] == [
        {"name": f"{host(upstream)}/team/app:1", "digest": OLD.digest, "size": OLD.root.size}
    ]


def test_verified_delta_names_its_base(upstream: RegistryServer, tmp_path: Path) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    images = [source(upstream), source(upstream, "team/web:1")]
    bundle_to(tmp_path / "out", *images, upstreams=settings(upstream), since=since)

    result = verify_bundle_at(tmp_path / "out", None)

    assert result["base"] == [{"name": f"{host(upstream)}/team/app:1", "digest": OLD.digest}]


def test_bundle_has_image_that_other_side_has_with_other_digest(upstream: RegistryServer, tmp_path: Path) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", NEW))

    bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream), since=since)

    assert description(tmp_path / "out")["images"][0]["digest"] == OLD.digest


def test_bundle_has_image_that_other_side_has_in_other_repository(upstream: RegistryServer, tmp_path: Path) -> None:
    since = write_info(tmp_path / "far.json", reported("other/app", "1", OLD))

    bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream), since=since)

    assert description(tmp_path / "out")["images"][0]["digest"] == OLD.digest


@pytest.mark.parametrize("qualified", [False, True])
def test_bundle_leaves_out_layer_that_other_image_of_other_side_has(
    upstream: RegistryServer, qualified: bool, tmp_path: Path
) -> None:
    repository = f"{host(upstream).replace(':', '_')}/team/app" if qualified else "team/app"
    since = write_info(tmp_path / "far.json", reported(repository, "1", OLD))

    bundle_to(tmp_path / "out", source(upstream, "team/app:2"), upstreams=settings(upstream), since=since)

    stated = description(tmp_path / "out")
    assert layers_in(tmp_path / "out", NEW) == NEW.layers[1:]
    assert stated["omitted"] == {
        NEW.layers[0]: {"size": len(NEW.contents[NEW.layers[0]]), "repositories": [repository]}
    }
    assert [(each["name"], each["digest"]) for each in stated["base"]] == [(f"{host(upstream)}/team/app:1", OLD.digest)]
    check_sums(tmp_path / "out")


def test_bundle_has_layer_if_no_registry_returns_manifest_of_other_side(
    upstream: RegistryServer, tmp_path: Path
) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    upstream.fail("HEAD", OLD.digest, Response(404, {}))

    bundle_to(tmp_path / "out", source(upstream, "team/app:2"), upstreams=settings(upstream), since=since)

    assert layers_in(tmp_path / "out", NEW) == NEW.layers
    assert "omitted" not in description(tmp_path / "out")


def test_bundle_leaves_out_layer_of_platform_that_other_side_has_in_reduced_index(
    upstream: RegistryServer, tmp_path: Path
) -> None:
    reduced = make_index({"linux/amd64": OLD})
    platforms = [{"platform": "linux/amd64", "digest": OLD.digest, "size": 1}]
    since = write_info(tmp_path / "far.json", reported("team/app", "1", reduced, platforms=platforms))

    bundle_to(tmp_path / "out", source(upstream, "team/app:2"), upstreams=settings(upstream), since=since)

    assert layers_in(tmp_path / "out", NEW) == NEW.layers[1:]
    assert description(tmp_path / "out")["base"][0]["digest"] == reduced.digest


def test_since_accepts_report_in_yaml(upstream: RegistryServer, tmp_path: Path) -> None:
    path = tmp_path / "far.yml"
    path.write_text(yaml.safe_dump({"images": [reported("team/app", "1", OLD)]}))

    bundle_to(tmp_path / "out", source(upstream, "team/app:2"), upstreams=settings(upstream), since=str(path))

    assert layers_in(tmp_path / "out", NEW) == NEW.layers[1:]


def test_since_accepts_lock_file(upstream: RegistryServer, tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps({f"{host(upstream)}/team/app:1": OLD.digest}))
    images = [source(upstream), source(upstream, "team/app:2")]

    result = bundle_to(tmp_path / "out", *images, upstreams=settings(upstream), since=str(lock))

    assert [each.get("left_out") for each in result["images"]] == [True, None]
    assert layers_in(tmp_path / "out", NEW) == NEW.layers[1:]


def test_lock_file_of_index_leaves_out_only_layers_of_selected_platforms(
    upstream: RegistryServer, tmp_path: Path
) -> None:
    arm64 = make_image(layer("bin/app", b"for arm64"), architecture="arm64")
    index = make_index({"linux/amd64": OLD, "linux/arm64": arm64})
    upstream.fill("team/multi", "1", index)
    # The new image for amd64 has one layer of each of the two platforms of the old image.
    new = make_image(BASE, *arm64.files)
    upstream.fill("team/multi", "2", new)
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps({f"{host(upstream)}/team/multi:1": index.digest}))
    entry = {"source": source(upstream, "team/multi:2"), "platforms": ["linux/amd64"]}

    bundle_to(tmp_path / "out", entry, upstreams=settings(upstream), since=str(lock))

    assert layers_in(tmp_path / "out", new) == new.layers[1:]
    assert description(tmp_path / "out")["base"][0]["digest"] == OLD.digest


def test_lock_file_of_index_leaves_out_nothing_if_its_platforms_are_unknown(
    upstream: RegistryServer, tmp_path: Path
) -> None:
    index = make_index({"linux/amd64": OLD, "linux/arm64": make_image(architecture="arm64")})
    upstream.fill("team/app", "index", index)
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps({f"{host(upstream)}/team/app:index": index.digest}))
    entries = [{"source": source(upstream, "team/app:2"), "platforms": ["linux/amd64"]}, source(upstream, "team/app:1")]

    bundle_to(tmp_path / "out", *entries, upstreams=settings(upstream), since=str(lock))

    assert layers_in(tmp_path / "out", NEW) == NEW.layers


@pytest.mark.parametrize("dest", ["{}/first", "oci-archive:{}/first"])
def test_since_accepts_earlier_bundle_without_requests_for_it(
    upstream: RegistryServer, dest: str, tmp_path: Path
) -> None:
    bundle_to(dest.format(tmp_path), source(upstream), upstreams=settings(upstream))
    upstream.requests.clear()

    bundle_to(
        tmp_path / "out",
        source(upstream, "team/app:2"),
        upstreams=settings(upstream),
        since=str(tmp_path / "first"),
    )

    assert layers_in(tmp_path / "out", NEW) == NEW.layers[1:]
    assert not any(OLD.digest in request for request in upstream.received("GET", "HEAD"))


def test_since_bundle_that_is_a_delta_includes_what_its_base_has(upstream: RegistryServer, tmp_path: Path) -> None:
    third = make_image(BASE, layer("etc/app.conf", b"third settings"))
    upstream.fill("team/app", "3", third)
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    bundle_to(tmp_path / "second", source(upstream, "team/app:2"), upstreams=settings(upstream), since=since)

    bundle_to(
        tmp_path / "out", source(upstream, "team/app:3"), upstreams=settings(upstream), since=str(tmp_path / "second")
    )

    assert layers_in(tmp_path / "out", third) == third.layers[1:]


def test_second_delta_sends_one_request_and_changes_no_file(upstream: RegistryServer, tmp_path: Path) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    options: dict[str, Any] = {"upstreams": settings(upstream), "since": since}
    bundle_to(tmp_path / "out", source(upstream, "team/app:2"), **options)
    before = tree(tmp_path / "out")
    upstream.requests.clear()

    again = bundle_to(tmp_path / "out", source(upstream, "team/app:2"), **options)

    assert again["changed"] is False
    assert tree(tmp_path / "out") == before
    assert upstream.received("GET", "HEAD") == ["HEAD /v2/team/app/manifests/2"]


def test_delta_is_completed_if_other_side_lost_its_base(upstream: RegistryServer, tmp_path: Path) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    bundle_to(tmp_path / "out", source(upstream, "team/app:2"), upstreams=settings(upstream), since=since)
    since = write_info(tmp_path / "far.json")

    bundle_to(tmp_path / "out", source(upstream, "team/app:2"), upstreams=settings(upstream), since=since)

    assert layers_in(tmp_path / "out", NEW) == NEW.layers
    assert "base" not in description(tmp_path / "out")


def test_bundle_without_since_completes_delta(upstream: RegistryServer, tmp_path: Path) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    bundle_to(tmp_path / "out", source(upstream, "team/app:2"), upstreams=settings(upstream), since=since)

    bundle_to(tmp_path / "out", source(upstream, "team/app:2"), upstreams=settings(upstream))

    assert layers_in(tmp_path / "out", NEW) == NEW.layers
    assert "omitted" not in description(tmp_path / "out")


def test_bundle_keeps_delta_image_of_earlier_task(upstream: RegistryServer, tmp_path: Path) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    bundle_to(tmp_path / "out", source(upstream, "team/app:2"), upstreams=settings(upstream), since=since)
    omitted = description(tmp_path / "out")["omitted"]

    bundle_to(tmp_path / "out", source(upstream, "team/web:1"), upstreams=settings(upstream))

    assert description(tmp_path / "out")["omitted"] == omitted
    assert len(description(tmp_path / "out")["images"]) == 2


def test_check_mode_predicts_delta(upstream: RegistryServer, tmp_path: Path) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    images = [source(upstream), source(upstream, "team/app:2")]

    planned = bundle_to(tmp_path / "out", *images, upstreams=settings(upstream), since=since, check_mode=True)
    done = bundle_to(tmp_path / "out", *images, upstreams=settings(upstream), since=since)

    assert planned == done


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"images": [1]}',
        '{"images": [{"repository": "../x", "tags": [], "digest": "sha256:0"}]}',
        '{"app:1": "latest"}',
        "images: &a [*a]",
        "a: [",
        '{"images": [{"repository": "team/app", "tags": "1", "digest": "sha256:' + "0" * 64 + '"}]}',
        '{"images": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_since_rejects_file_that_states_no_images(content: str, image: Image, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"example.com/app:1": image})
    (tmp_path / "far").write_text(content)

    with pytest.raises(InputError) as caught:
        bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout", since=str(tmp_path / "far"))

    assert str(tmp_path / "far") in caught.value.message
    assert not (tmp_path / "out").exists()


def test_since_rejects_missing_file(image: Image, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"example.com/app:1": image})

    with pytest.raises(SourceError, match="far"):
        bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout", since=str(tmp_path / "far"))


def test_since_rejects_the_bundle_itself(image: Image, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"example.com/app:1": image})
    bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout")

    with pytest.raises(InputError, match="since and dest are both"):
        bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout", since=str(tmp_path / "out"), prune=True)


def test_since_rejects_incomplete_bundle(image: Image, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"example.com/app:1": image})
    bundle_to(tmp_path / "first", f"oci:{tmp_path}/layout")
    stated = description(tmp_path / "first")
    (tmp_path / "first/bundle.json").write_text(json.dumps({**stated, "complete": False}))

    with pytest.raises(SourceError, match="incomplete"):
        bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout", since=str(tmp_path / "first"))


def test_delta_lists_the_images_that_it_leaves_out(upstream: RegistryServer, tmp_path: Path) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    images = [source(upstream), source(upstream, "team/app:2")]
    entry = {"name": f"{host(upstream)}/team/app:1", "digest": OLD.digest, "size": OLD.root.size}

    bundle_to(tmp_path / "out", *images, upstreams=settings(upstream), since=since)

    assert description(tmp_path / "out")["left_out"] == description(tmp_path / "out")["base"] == [entry]
    bundle_to(tmp_path / "out", source(upstream, "team/web:1"), upstreams=settings(upstream))
    assert description(tmp_path / "out")["left_out"] == [entry]
    bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream))
    assert "left_out" not in description(tmp_path / "out")


def test_prune_forgets_the_images_that_an_earlier_delta_left_out(upstream: RegistryServer, tmp_path: Path) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    images = [source(upstream), source(upstream, "team/web:1")]
    bundle_to(tmp_path / "out", *images, upstreams=settings(upstream), since=since)

    again = bundle_to(tmp_path / "out", *images[1:], upstreams=settings(upstream), prune=True)

    assert again["changed"] is True
    assert not {"left_out", "base"} & description(tmp_path / "out").keys()


@pytest.mark.parametrize("dest", ["{}/out", "oci-archive:{}/out"])
def test_delta_of_unchanged_images_is_a_bundle_without_images(
    upstream: RegistryServer, dest: str, tmp_path: Path
) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    options: dict[str, Any] = {"upstreams": settings(upstream), "since": since}

    bundle_to(dest.format(tmp_path), source(upstream), **options)

    verified = verify_bundle_at(tmp_path / "out", None)
    assert (verified["images"], verified["faults"], len(verified["base"])) == ([], [], 1)
    assert bundle_to(dest.format(tmp_path), source(upstream), **options)["changed"] is False


def test_bundle_of_delta_fails_without_the_image_that_it_leaves_out(upstream: RegistryServer, tmp_path: Path) -> None:
    since = write_info(tmp_path / "far.json", reported("team/app", "1", OLD))
    images = [source(upstream), source(upstream, "team/web:1")]
    bundle_to(tmp_path / "delta", *images, upstreams=settings(upstream), since=since)
    delta = f"bundle:{tmp_path}/delta"

    failed = bundle_to(tmp_path / "out", delta)

    assert f"Deliver the base of this bundle first: {host(upstream)}/team/app:1" in failed["msg"]
    assert not bundle_to(tmp_path / "out", delta, source(upstream), upstreams=settings(upstream)).get("failed")
    bundle_to(tmp_path / "again", delta, since=since)
    assert description(tmp_path / "again")["left_out"] == description(tmp_path / "delta")["left_out"]


def test_delta_of_one_layer_has_hardly_more_bytes_than_the_layer(upstream: RegistryServer, tmp_path: Path) -> None:
    import hashlib

    contents = [hashlib.shake_256(b"%d" % number).digest(1 << 20) for number in range(3)]
    old = make_image(layer("a", contents[0]), layer("b", contents[1]))
    new = make_image(layer("a", contents[0]), layer("b", contents[2]))
    upstream.fill("team/large", "1", old)
    upstream.fill("team/large", "2", new)
    since = write_info(tmp_path / "far.json", reported("team/large", "1", old))

    bundle_to(tmp_path / "out", source(upstream, "team/large:2"), upstreams=settings(upstream), since=since)

    size = sum(map(len, tree(tmp_path / "out").values()))
    assert size <= 1.02 * len(new.contents[new.layers[1]])
