# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images and targets of the bundles in the benchmark."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmark.bundle_comparisons import BUNDLE, BUNDLE_DELTA, CURL_LAYERS
from benchmark.bundle_workloads import bundled_images
from benchmark.bundles import selected
from benchmark.results import Results
from benchmark.targets import TARGETS, required_measurements
from benchmark.workloads import Workloads
from images.layout import Layout

from .test_report import figures


def test_bundled_images_share_layers_in_their_first_half(tmp_path: Path) -> None:
    workload = Workloads(tmp_path, 1, ExitStack()).get(bundled_images(20, 2))

    manifests = [Layout(Path(source.location)).read(source.digest) for source in workload.sources]
    layers = [[layer["digest"] for layer in manifest["layers"]] for manifest in manifests]
    assert len(workload.sources) == 21
    assert [first for first, _own in layers[:10]] == [layers[0][0]] * 5 + [layers[5][0]] * 5
    assert len({digest for pair in layers[10:20] for digest in pair}) == 20
    assert layers[20][0] == layers[0][0]
    assert layers[20][1] != layers[0][1]
    sizes = {layer["digest"]: layer["size"] for manifest in manifests[:20] for layer in manifest["layers"]}
    assert workload.size == sum(sizes.values())


def test_changed_version_is_no_image_of_first_bundle(tmp_path: Path) -> None:
    workload = Workloads(tmp_path, 1, ExitStack()).get(bundled_images(4, 1))
    names = [f"image-{number}:1" for number in range(5)]

    assert selected(workload, names) == list(zip(workload.sources[:4], names[:4]))


def test_targets_compare_bundles_with_curl_and_count_requests(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json", 1)
    results.save("bundle-100", 1, {CURL_LAYERS: figures(10), BUNDLE: figures(14, inside=12.5)})
    results.save("bundle-nothing", 1, {BUNDLE: figures(1, requests=100)})
    results.save("bundle-changed", 1, {BUNDLE_DELTA: figures(1, written=1030, needed=1000)})

    outcomes = {target.text: target.met(results) for target in TARGETS if "bundle" in target.text}

    assert sorted(str(outcome) for outcome in outcomes.values()) == ["False", "False", "None", "True", "True"]
    assert required_measurements()["bundle-changed"] == {BUNDLE_DELTA}
