# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_bundle``: selected tags, archives of charts, and invalid locations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, InputError, K8scrError
from unit.plugins.module_utils.support.bundle_tasks import blobs, bundle_to, check_sums, description, tree
from unit.plugins.module_utils.support.charts import write_chart
from unit.plugins.module_utils.support.images import Image, layer, make_image, write_layout
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.upstream_servers import host, settings

pytestmark = pytest.mark.usefixtures("no_credentials", "clock")


def test_bundle_has_selected_tags(upstream: RegistryServer, image: Image, tmp_path: Path) -> None:
    for tag in ("latest", "1.9", "1.10", "1.11-rc.1", "2.0"):
        upstream.fill("team/api", tag, image)
    entry = {"source": f"docker://{host(upstream)}/team/api", "tags": {"semver": "<2", "newest": 1}}

    result = bundle_to(tmp_path / "out", entry, upstreams=settings(upstream), lock=tmp_path / "images.lock.json")
    upstream.fill("team/api", "1.12", image)
    upstream.requests.clear()
    again = bundle_to(
        tmp_path / "out", entry, upstreams=settings(upstream), lock=tmp_path / "images.lock.json", locked=True
    )

    assert [each["name"] for each in description(tmp_path / "out")["images"]] == [f"{host(upstream)}/team/api:1.10"]
    assert result["selections"][0]["tags"] == ["1.10"]
    assert again["changed"] is False
    assert not any("tags/list" in request for request in upstream.received("GET"))


def test_bundle_has_chart_as_artifact(tmp_path: Path) -> None:
    archive = write_chart(tmp_path / "app-1.2.3.tgz")

    result = bundle_to(tmp_path / "out", f"chart:{archive}")

    assert [each["name"] for each in result["images"]] == ["localhost/charts/app:1.2.3_build.5"], result.get("msg")
    contents = [
        (tmp_path / "out/blobs/sha256" / digest.partition(":")[2]).read_bytes() for digest in blobs(tmp_path / "out")
    ]
    assert archive.read_bytes() in contents
    check_sums(tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"registry_image": "oci:two"}, r"^registry_image selects 2 images from oci:two\. Write the name of one"),
        ({"extras": {"files": ["missing"]}}, r"missing .*No such file or directory"),
        ({"extras": {"collections": ["two/index.json"]}}, r"two/index\.json is not the tarball of a collection"),
    ],
)
def test_bundle_rejects_option_before_it_downloads_or_writes(
    upstream: RegistryServer,
    image: Image,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_layout(Path("two"), {"app:1": image, "app:2": make_image(layer("other", b"other"))})
    upstream.fill("team/app", "1", image)

    with pytest.raises(K8scrError, match=reason):
        bundle_to("./out", f"docker://{host(upstream)}/team/app:1", upstreams=settings(upstream), **options)

    assert not list(tmp_path.glob("out/*"))
    assert not any("/blobs/" in request for request in upstream.received("GET"))


def test_registry_image_selects_no_tags(tmp_path: Path) -> None:
    image = {"source": "docker://registry.example.com/registry", "tags": {"newest": 1}}

    with pytest.raises(InputError, match="registry_image has tags, but it is one image"):
        bundle_to(tmp_path / "out", registry_image=image)


def test_bundle_rejects_path_without_leading_dot(image: Image, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"app:1": image})

    with pytest.raises(InputError, match=r"^medium is not the path of a bundle") as caught:
        bundle_to("medium", f"oci:{tmp_path}/layout")

    assert "Begin the path of a folder with / or ./" in str(caught.value)


@pytest.mark.parametrize(("source", "has_advice"), [("team/api:1", True), ("docker-daemon:team/api:1", False)])
def test_bundle_without_engine_names_transport_of_registries(tmp_path: Path, source: str, has_advice: bool) -> None:
    result = bundle_to(tmp_path / "out", source, docker_host=f"unix://{tmp_path}/missing.sock")

    assert "Start the engine" in result["msg"]
    assert ("For an image of a registry, write docker://team/api:1." in result["msg"]) is has_advice


def test_bundle_rejects_name_after_its_path(image: Image, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"app:1": image})

    with pytest.raises(InputError, match="out:app has a name after the path of the bundle"):
        bundle_to(tmp_path / "out:app", f"oci:{tmp_path}/layout")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("folder", "options", "message"),
    [
        ("out", {}, "out has the volumes of a bundle. Set volumes"),
        ("out/volume-1", {}, "out/volume-1 is a volume of a bundle. Write the folder that contains all volumes"),
        ("out/volume-1", {"volumes": {"size": 1 << 20, "margin": "2%"}}, "out/volume-1 is a volume of a bundle"),
    ],
)
def test_bundle_without_volumes_leaves_existing_volumes_unchanged(
    image: Image, tmp_path: Path, folder: str, options: dict[str, Any], message: str
) -> None:
    write_layout(tmp_path / "layout", {"app:1": image})
    bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout", volumes={"size": 1 << 20, "margin": "2%"})
    before = tree(tmp_path / "out")

    with pytest.raises(DestinationError, match=message):
        bundle_to(tmp_path / folder, f"oci:{tmp_path}/layout", **options)

    assert tree(tmp_path / "out") == before
