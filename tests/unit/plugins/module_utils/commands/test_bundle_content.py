# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_bundle``: the registry's image, charts, referrers, volumes, and nothing that is secret or local."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.bundle import run_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.bundle_settings import BUNDLE_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, SourceError
from unit.plugins.module_utils.support.bundle_tasks import (
    blobs,
    bundle_settings,
    bundle_to,
    check_sums,
    description,
    tree,
)
from unit.plugins.module_utils.support.documented_results import differences
from unit.plugins.module_utils.support.images import Image, layer, make_image, read_tar, write_layout
from unit.plugins.module_utils.support.module_runs import run_module
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.settings import module_options
from unit.plugins.module_utils.support.upstream_servers import BasicGuard, host, settings, source

pytestmark = pytest.mark.usefixtures("no_credentials", "clock")


@pytest.fixture
def upstream(upstream: RegistryServer, image: Image, multi: Image) -> RegistryServer:
    """An upstream registry with an image, and the image of a registry for two platforms."""
    upstream.fill("team/app", "1", image)
    upstream.fill("library/registry", "3", multi)
    return upstream


def verify(dest: object) -> dict[str, Any]:
    """Verify a bundle as k8scr_bundle does. Return the result."""
    return run_bundle(module_options(BUNDLE_ARGUMENT_SPEC, dest=str(dest), state="verified"), check_mode=False)


def test_registry_image_is_an_archive_of_its_platform(upstream: RegistryServer, multi: Image, tmp_path: Path) -> None:
    wanted = {"source": source(upstream, "library/registry:3"), "platforms": ["linux/amd64"]}

    result = bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream), registry_image=wanted)

    amd64 = multi.manifest["manifests"][0]["digest"]
    files = read_tar(tmp_path / "out/registry.tar")
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["digest"] == amd64
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == f"{host(upstream)}/library/registry:3"
    assert [each["path"] for each in result["extras"]] == ["registry.tar"]
    assert result["images"][1]["digest"] == amd64
    check_sums(tmp_path / "out")


@pytest.mark.parametrize(("wanted", "count"), [({}, 1), ({"referrers": True}, 2)])
def test_archive_of_registry_image_has_referrers_only_on_request(
    upstream: RegistryServer, image: Image, wanted: dict[str, Any], count: int, tmp_path: Path
) -> None:
    upstream.fill("team/app", f"{image.digest.replace(':', '-')}.sig", make_image(layer("signature", b"signed")))

    bundle_to(tmp_path / "out", registry_image={"source": source(upstream), **wanted}, upstreams=settings(upstream))

    entries = json.loads(read_tar(tmp_path / "out/registry.tar")["index.json"])["manifests"]
    assert len(entries) == count


@pytest.mark.parametrize("dest", ["{}/out", "oci-archive:{}/out.tar"])
def test_existing_registry_image_costs_one_request(upstream: RegistryServer, dest: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "upstreams": settings(upstream),
        "registry_image": source(upstream, "library/registry:3"),
    }
    bundle_to(dest.format(tmp_path), **options)
    before = tree(tmp_path)
    upstream.requests.clear()

    again = bundle_to(dest.format(tmp_path), **options)

    assert again["changed"] is False
    assert tree(tmp_path) == before
    assert upstream.received("GET", "HEAD") == ["HEAD /v2/library/registry/manifests/3"]


@pytest.mark.parametrize(("referrers", "count"), [(None, 1), (True, 2)])
def test_registry_image_has_referrers_only_on_request(
    upstream: RegistryServer, multi: Image, image: Image, tmp_path: Path, referrers: bool | None, count: int
) -> None:
    upstream.fill("library/registry", f"{multi.digest.replace(':', '-')}.sig", image)
    wanted = {"source": source(upstream, "library/registry:3"), "referrers": referrers}

    bundle_to(tmp_path / "out", upstreams=settings(upstream), registry_image=wanted)

    assert len(json.loads(read_tar(tmp_path / "out/registry.tar")["index.json"])["manifests"]) == count


def test_registry_image_that_moved_replaces_the_archive(upstream: RegistryServer, image: Image, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "upstreams": settings(upstream),
        "registry_image": source(upstream, "library/registry:3"),
    }
    bundle_to(tmp_path / "out", **options)
    upstream.fill("library/registry", "3", image)

    planned = bundle_to(tmp_path / "out", **options, check_mode=True)
    result = bundle_to(tmp_path / "out", **options)

    assert (planned["changed"], result["changed"]) == (True, True)
    assert f"blobs/sha256/{image.layers[0].partition(':')[2]}" in read_tar(tmp_path / "out/registry.tar")


def test_failed_registry_image_fails_the_task(upstream: RegistryServer, tmp_path: Path) -> None:
    result = bundle_to(
        tmp_path / "out",
        source(upstream),
        upstreams=settings(upstream),
        registry_image=source(upstream, "library/missing:3"),
    )

    assert "library/missing:3" in result["msg"]
    assert description(tmp_path / "out")["complete"] is False


def test_registry_archive_has_same_bytes_in_each_run(upstream: RegistryServer, tmp_path: Path) -> None:
    for name in ("one", "two"):
        bundle_to(tmp_path / name, upstreams=settings(upstream), registry_image=source(upstream, "library/registry:3"))

    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_bundle_has_chart_of_registry(upstream: RegistryServer, tmp_path: Path) -> None:
    chart = make_image(layer("app/Chart.yaml", b"name: app"))
    upstream.fill("charts/app", "1.2.0_build.1", chart)

    result = bundle_to(
        tmp_path / "out", upstreams=settings(upstream), charts=[f"oci://{host(upstream)}/charts/app:1.2.0+build.1"]
    )

    assert result["images"][0]["name"] == f"{host(upstream)}/charts/app:1.2.0_build.1"
    assert result["images"][0]["digest"] == chart.digest


def test_charts_become_sources() -> None:
    settings_of = bundle_settings("/out", charts=["./charts/app", {"chart": "/a.tgz", "name": "localhost/charts/a:1"}])

    assert [(entry.source, entry.name) for entry in settings_of.sources.images] == [
        ("chart:./charts/app", None),
        ("chart:/a.tgz", "localhost/charts/a:1"),
    ]


def test_charts_reject_url_without_its_password() -> None:
    with pytest.raises(InputError, match=r"charts\[0\] is a URL without oci://. Run helm pull first") as caught:
        bundle_settings("/out", charts=["https://user:canary@charts.example.com/app"])

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("chart", [1, [], {}, {"name": "a"}, {"chart": "a", "other": "b"}, "", {"chart": 1}])
def test_charts_reject_unusable_entry(chart: Any) -> None:
    with pytest.raises(InputError, match=r"charts\[1\]"):
        bundle_settings("/out", charts=["a", chart])


def test_bundle_on_volumes_is_divided_and_unchanged_in_second_run(tmp_path: Path) -> None:
    images = {f"example.com/app:{n}": make_image(layer("file", bytes([n]) * (1 << 20))) for n in range(4)}
    write_layout(tmp_path / "layout", images)
    options: dict[str, Any] = {"volumes": {"size": 1 << 20, "margin": "10%"}}

    first = bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout", **options)
    again = bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout", **options)
    changed = bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout", volumes={"size": 2 << 20})

    assert [each["bytes"] <= 0.9 * (1 << 20) for each in first["volumes"]] == [True] * len(first["volumes"])
    assert (first["changed"], again["changed"], changed["changed"]) == (True, False, True)
    assert verify(tmp_path / "out")["faults"] == []


@pytest.mark.parametrize("margin", ["", "x", "100%", "-1%", "1.55%", "%"])
def test_volumes_reject_invalid_margin(margin: str) -> None:
    with pytest.raises(InputError, match=r"volumes\.margin"):
        bundle_settings("/out", "app:1", volumes={"size": 1 << 30, "margin": margin})


@pytest.mark.parametrize("size", [0, (1 << 20) - 1, (1 << 52) + 1])
def test_volumes_reject_size_out_of_bounds(size: int) -> None:
    with pytest.raises(InputError, match=r"volumes\.size is"):
        bundle_settings("/out", "app:1", volumes={"size": size})


def test_bundle_rejects_task_without_content() -> None:
    with pytest.raises(InputError, match="nothing to bundle"):
        bundle_settings("/out")


def test_verified_bundle_has_no_faults(upstream: RegistryServer, image: Image, tmp_path: Path) -> None:
    bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream))
    before = tree(tmp_path / "out")

    result = verify(tmp_path / "out")

    assert (result["changed"], result["faults"]) == (False, [])
    assert [each["digest"] for each in result["images"]] == [image.digest]
    assert tree(tmp_path / "out") == before


def test_verification_names_damaged_file_and_its_images(upstream: RegistryServer, image: Image, tmp_path: Path) -> None:
    bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream))
    blob = tmp_path / f"out/blobs/sha256/{image.layers[0].partition(':')[2]}"
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    result = verify(tmp_path / "out")

    assert result["failed"]
    assert blob.name in result["msg"]
    assert f"{host(upstream)}/team/app:1" in result["msg"]
    assert [each["path"] for each in result["faults"]] == [f"blobs/sha256/{blob.name}"]


def make_volumes(folder: Path) -> list[Path]:
    """Write a bundle with one image on several volumes, and return their folders."""
    image = make_image(*(layer(name, random.Random(name).randbytes(1 << 19)) for name in ("one", "two", "three")))
    write_layout(folder / "layout", {"example.com/app:1": image})
    made = bundle_to(folder / "out", f"oci:{folder}/layout", volumes={"size": 1 << 20})
    return [Path(each["path"]) for each in made["volumes"]]


def test_verification_of_one_volume_says_that_its_files_are_undamaged(tmp_path: Path) -> None:
    first, *others = make_volumes(tmp_path)

    result = verify(first)

    assert result["failed"]
    assert [(each["volume"], each["path"]) for each in result["faults"]] == [(n + 2, "") for n in range(len(others))]
    assert f"volumes of the bundle {first} are missing. All files of the other volumes are undamaged" in result["msg"]
    assert "is damaged" not in result["msg"]


def test_verification_of_one_volume_names_its_damaged_file(tmp_path: Path) -> None:
    first = make_volumes(tmp_path)[0]
    (first / "index.json").write_bytes((first / "index.json").read_bytes() + b" ")

    assert f"the bundle {first} is damaged" in verify(first)["msg"]


def test_verification_names_damaged_file_before_missing_volumes(tmp_path: Path) -> None:
    images = {f"example.com/app:{n}": make_image(layer("file", random.Random(n).randbytes(900_000))) for n in range(25)}
    write_layout(tmp_path / "layout", images)
    made = bundle_to(tmp_path / "out", f"oci:{tmp_path}/layout", volumes={"size": 1 << 20})
    assert len(made["volumes"]) >= 25
    last = Path(made["volumes"][-1]["path"])
    (last / "index.json").write_bytes((last / "index.json").read_bytes() + b" ")

    lines = verify(last)["msg"].splitlines()

    assert lines[1].startswith(f"index.json on volume {len(made['volumes'])} is damaged")
    assert "is missing" in lines[2]


def test_verification_rejects_incomplete_bundle(upstream: RegistryServer, tmp_path: Path) -> None:
    bundle_to(tmp_path / "out", source(upstream), upstreams=settings(upstream))
    stated = description(tmp_path / "out")
    (tmp_path / "out/bundle.json").write_text(json.dumps({**stated, "complete": False}))

    with pytest.raises(SourceError, match="incomplete"):
        verify(tmp_path / "out")


@pytest.mark.parametrize("dest", ["{}/out", "oci-archive:{}/out.tar", "volumes"])
def test_bundle_has_no_credentials_mirrors_paths_and_times(
    upstream: RegistryServer, image: Image, dest: str, tmp_path: Path
) -> None:
    upstream.guard = BasicGuard("canary-user", "canary-password")
    folder = tmp_path / "canary-folder"
    folder.mkdir()
    (folder / "app.yml").write_text("kind: List\n")
    write_layout(folder / "layout", {"example.com/other:1": image})
    options: dict[str, Any] = {
        "upstreams": [
            {"host": "registry.example.com", "mirrors": [f"{host(upstream)}"]},
            *settings(upstream, username="canary-user", password="canary-password"),
        ],
        "registry_image": "docker://registry.example.com/library/registry:3",
        "extras": {"files": [str(folder / "app.yml")]},
        "tmp_dest": str(folder),
        "lock": str(folder / "lock.json"),
    }
    if dest == "volumes":
        dest, options["volumes"] = "{}/out", {"size": 1 << 20}

    result = bundle_to(
        dest.format(tmp_path), "docker://registry.example.com/team/app:1", f"oci:{folder}/layout", **options
    )

    assert "failed" not in result, result
    out = tmp_path / "out"
    texts = tree(out) if out.is_dir() else {"out.tar": (tmp_path / "out.tar").read_bytes()}
    for name, content in texts.items():
        for canary in ("canary", host(upstream), str(tmp_path), str(Path.home())):
            assert canary.encode() not in content, name


@pytest.mark.parametrize("check_mode", [False, True])
def test_result_of_bundle_is_documented(upstream: RegistryServer, check_mode: bool, tmp_path: Path) -> None:
    result = bundle_to(
        tmp_path / "out",
        source(upstream),
        source(upstream, "team/missing:1"),
        upstreams=settings(upstream),
        check_mode=check_mode,
    )
    complete = bundle_to(
        tmp_path / "out",
        source(upstream),
        upstreams=settings(upstream),
        registry_image=source(upstream, "library/registry:3"),
        check_mode=check_mode,
    )

    assert differences("k8scr_bundle", result) == []
    assert differences("k8scr_bundle", complete) == []


def test_module_makes_and_verifies_bundle(image: Image, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"example.com/app:1": image})

    made = run_module("k8scr_bundle", capsys, dest=str(tmp_path / "out"), images=[f"oci:{tmp_path}/layout"])
    verified = run_module("k8scr_bundle", capsys, dest=str(tmp_path / "out"), state="verified", images=None)

    assert made["changed"] is True
    assert blobs(tmp_path / "out") == set(image.contents)
    assert (verified["changed"], verified["faults"]) == (False, [])
    result = verify(tmp_path / "out")
    assert differences("k8scr_bundle", result, options={"faults": True}) == []
