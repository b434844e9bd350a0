# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives of charts as sources of artifacts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError, SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores import chart_archive
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.chart_archive import ChartArchiveSource
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import (
    Location,
    open_destination,
    open_source,
    parse_location,
)
from unit.plugins.module_utils.support.charts import CHART, write_chart
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.stores import read_image
from unit.plugins.module_utils.support.tar_entries import END, entry
from unit.plugins.module_utils.support.upstream_servers import Push, error_of


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The archive of a chart."""
    return write_chart(tmp_path / "app-1.2.3.tgz")


def manifest_of(path: Path) -> dict[str, Any]:
    """Return the manifest of a chart."""
    source = ChartArchiveSource(path)
    manifest: dict[str, Any] = json.loads(source.fetch_manifest(source.images()[0].root).content)
    return manifest


def test_chart_is_artifact_of_helm_push(archive: Path) -> None:
    manifest = manifest_of(archive)

    assert list(manifest) == ["schemaVersion", "config", "layers", "annotations"]
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
    assert manifest["layers"] == [
        {
            "mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            "digest": digest_of(archive.read_bytes()),
            "size": archive.stat().st_size,
        }
    ]
    assert "org.opencontainers.image.created" not in manifest["annotations"]


def test_chart_has_name_with_valid_tag(archive: Path) -> None:
    (image,) = ChartArchiveSource(archive).images()

    assert str(image.name) == "localhost/charts/app:1.2.3_build.5"


def test_chart_without_valid_name_needs_option(tmp_path: Path) -> None:
    path = write_chart(tmp_path / "app.tgz", "name: MyApp\nversion: 1.2.3\n")

    (image,) = ChartArchiveSource(path).images()

    assert image.name is None
    assert "Set its name with the option name" in str(image.name_error)


def test_same_chart_has_same_digest_at_any_path_and_time(archive: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.tgz"
    copy.write_bytes(archive.read_bytes())

    assert ChartArchiveSource(copy).images() == ChartArchiveSource(archive).images()


def test_chart_has_provenance_file_as_layer(archive: Path) -> None:
    provenance = archive.with_name(f"{archive.name}.prov")
    provenance.write_text("signed")

    layers = manifest_of(archive)["layers"]

    assert sorted(layer["mediaType"] for layer in layers) == [
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        "application/vnd.cncf.helm.chart.provenance.v1.prov",
    ]
    assert [layer["digest"] for layer in layers] == sorted(layer["digest"] for layer in layers)


def test_chart_content_is_read_from_any_offset(archive: Path) -> None:
    source = ChartArchiveSource(archive)
    manifest = source.fetch_manifest(source.images()[0].root)

    contents = read_image(source, source.images()[0].root)
    with source.open_blob(manifest.layers[0], 7) as blocks:
        rest = b"".join(bytes(block) for block in blocks)
    assert manifest.config
    with source.open_blob(manifest.config, 7) as blocks:
        config = b"".join(bytes(block) for block in blocks)

    assert archive.read_bytes() in contents.values()
    assert rest == archive.read_bytes()[7:]
    assert config == contents[manifest.config.digest][7:]
    assert all(source.has_blob(blob) for blob in manifest.blobs)


def test_chart_that_changes_is_not_read(archive: Path) -> None:
    source = ChartArchiveSource(archive)
    (layer,) = source.fetch_manifest(source.images()[0].root).layers
    archive.write_bytes(b"other")

    with pytest.raises(SourceError, match="was changed or replaced"), source.open_blob(layer):
        pass


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not compressed with gzip"),
        (b"app", "is not compressed with gzip"),
        (b"".join([entry("app/Chart.yaml", CHART.encode()), END]), "is not compressed with gzip"),
        (gzip.compress(b""), "is empty|shorter than one header"),
        (gzip.compress(b"x" * 700), "header at byte 0 is invalid|shorter"),
        (gzip.compress(entry("app/values.yaml", b"x") + END), "has no file NAME/Chart.yaml"),
        (gzip.compress(entry("Chart.yaml", CHART.encode()) + END), "has no file NAME/Chart.yaml"),
        (gzip.compress(entry("app/Chart.yaml") + entry("b/Chart.yaml") + END), "has several files NAME/Chart.yaml"),
        (gzip.compress(entry("../app/Chart.yaml", CHART.encode()) + END), "points outside the archive"),
        (gzip.compress(entry("app/Chart.yaml", kind=b"2", link="../../etc/passwd") + END), "points outside"),
        (gzip.compress(entry("app/Chart.yaml", b"{") + END), "is not YAML"),
        (gzip.compress(entry("app/Chart.yaml", b"") + END), "Chart.yaml has the name ''"),
        (gzip.compress(entry("app/Chart.yaml", b"#" * (1 << 20) + b"\n") + END), "the limit is 1048576"),
        (gzip.compress(entry("app/Chart.yaml", size=b"77777777777") + END), "truncated"),
        (gzip.compress(entry("app/Chart.yaml", CHART.encode()) + END)[:-9], "truncated|damaged"),
        (
            gzip.compress(
                entry(
                    "app/Chart.yaml",
                    b"a: &a [x,x,x,x,x,x,x,x]\n"
                    + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 60)) for c in range(98, 110)),
                )
                + END
            ),
            "aliases that repeat more than",
        ),
    ],
)
def test_invalid_chart_archive_is_an_error(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "app.tgz"
    path.write_bytes(content)

    with pytest.raises(SourceError, match=reason):
        ChartArchiveSource(path)


def test_chart_above_limit_of_helm_is_an_error(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart_archive, "_MAXIMUM_CHART", archive.stat().st_size)
    with pytest.raises(SourceError, match=r"the files of the chart .* have .* the limit of Helm is"):
        ChartArchiveSource(archive)

    monkeypatch.setattr(chart_archive, "_MAXIMUM_CHART", 100)
    with pytest.raises(SourceError, match="bytes; the limit of Helm is 100"):
        ChartArchiveSource(archive)


def test_folder_of_chart_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=f"is a folder, not the archive of a chart. Run helm package {tmp_path} first"
    ):
        ChartArchiveSource(tmp_path)


def test_chart_location_may_contain_colons() -> None:
    location = parse_location("chart:charts/app:1.tgz")

    assert location == Location("chart", Path("charts/app:1.tgz"))
    with pytest.raises(InputError, match="is not a destination"):
        open_destination(location)


def test_missing_chart_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        open_source(parse_location(f"chart:{tmp_path}/app.tgz"))


def test_push_stores_chart_as_helm_does(push: Push, server: RegistryServer, archive: Path) -> None:
    result = push(
        f"chart:{archive}",
        {"source": f"chart:{archive}", "name": "registry.example.com/charts/app:1.2.3_build.5"},
        compression="gzip",
        qualify=True,
    )

    assert [image["target"] for image in result["images"]] == [
        "localhost/charts/app:1.2.3_build.5",
        "registry.example.com/charts/app:1.2.3_build.5",
    ], result.get("msg")
    digest = server.digest_of("localhost/charts/app", "1.2.3_build.5")
    assert digest == ChartArchiveSource(archive).images()[0].root.digest
    assert archive.read_bytes() in server.blobs["localhost/charts/app"].values()

    again = push(f"chart:{archive}", qualify=True)

    assert not again["changed"]


def test_push_of_chart_fails_with_referrers(push: Push, archive: Path) -> None:
    result = push({"source": f"chart:{archive}", "referrers": True})

    assert "referrers" in error_of({**result, "images": result["images"][-1:]})
