# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines about the images of a task, and its changes with ``--diff``."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import SourceError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Manifest,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.job import ImageJob
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.plan import (
    Action,
    BlobStep,
    ImagePlan,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.report import (
    ImageResult,
    ReferrersReport,
    report,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.result_lines import (
    Verb,
    closing_lines,
    image_line,
)

ROOT = f"sha256:{'4bcf63911fcb' + '0' * 52}"
CONFIG = Descriptor(OCI_CONFIG, f"sha256:{'c' * 64}", 512)
MANIFEST = Manifest(Descriptor(OCI_MANIFEST, ROOT, 700), b"", config=CONFIG)


def copied(name: str, config: Action, *layers: Action) -> ImageResult:
    """Return the result of an image with layers of one MiB, and a config."""
    steps = [BlobStep(CONFIG, config)]
    steps += [
        BlobStep(Descriptor(OCI_LAYER, f"sha256:{number:064}", 1 << 20), action) for number, action in enumerate(layers)
    ]
    plan = ImagePlan(ImageJob(name, target=name), root=ROOT, manifests=(MANIFEST,), steps=tuple(steps))
    return ImageResult(plan, ROOT, plan.blobs)


def unchanged(name: str) -> ImageResult:
    """Return the result of an unchanged image."""
    return ImageResult(ImagePlan(ImageJob(name), root=ROOT), ROOT)


def failed(name: str) -> ImageResult:
    """Return the result of a failed image."""
    return ImageResult(ImagePlan(ImageJob(name)), error=SourceError("it is damaged", "Copy it again"))


def failed_referrer() -> ImageResult:
    """Return the result of a failed referrer."""
    return ImageResult(ImagePlan(ImageJob("sig", subject=ROOT)), error=SourceError("it is damaged"))


SENT, MOUNTED, PRESENT = Action.SENT, Action.MOUNTED, Action.PRESENT


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (copied("app:1", SENT, SENT, PRESENT), "uploaded 1 of 2 layers, 1.0 MiB in 3.1 s"),
        (copied("app:1", SENT, SENT, MOUNTED, PRESENT), "uploaded 1 of 3 layers, 1.0 MiB in 3.1 s, mounted 1 layer"),
        (copied("app:1", SENT, MOUNTED, MOUNTED, PRESENT), "mounted 2 of 3 layers in 3.1 s"),
        (copied("app:1", SENT, PRESENT), "uploaded the manifest and the config in 3.1 s, 1 layer exists"),
        (copied("app:1", PRESENT, PRESENT, PRESENT), "uploaded the manifest in 3.1 s, 2 layers exist"),
        (replace(unchanged("app:1"), referrers=ReferrersReport(3)), "unchanged, with 3 referrers"),
    ],
)
def test_line_of_image_has_digest_and_copied_layers(result: ImageResult, line: str) -> None:
    assert image_line(result, 3.1) == f"app:1 → sha256:4bcf63911fcb  {line}"


def test_line_of_failed_image_has_reason_without_advice() -> None:
    assert image_line(failed("app:1"), 3.1) == "app:1  failed: it is damaged"


def test_line_of_image_has_verb_of_module_and_is_planned_in_check_mode() -> None:
    result = copied("app:1", SENT, SENT)

    assert image_line(result, 1, verb=Verb.DOWNLOAD).endswith("  downloaded 1 of 1 layer, 1.0 MiB in 1.0 s")
    assert image_line(result, None, True, Verb.DOWNLOAD).endswith("  would download 1 of 1 layer, 1.0 MiB")


def test_last_lines_name_few_unchanged_images_and_have_totals() -> None:
    results = [copied("app:1", SENT, SENT), unchanged("api:1"), failed("web:1"), failed_referrer()]

    assert closing_lines(results, 12) == [
        "api:1 → sha256:4bcf63911fcb  unchanged",
        "uploaded 1 image, 1.0 MiB in 12 s; 1 image unchanged; 1 image failed; 1 referrer failed",
    ]


def test_last_lines_count_images_without_uploaded_layers_apart() -> None:
    mounted, manifest = copied("api:1", SENT, MOUNTED), copied("web:1", PRESENT, PRESENT)

    assert closing_lines([copied("app:1", SENT, SENT), mounted, manifest], 12) == [
        "uploaded 1 image, 1.0 MiB in 12 s; mounted the layers of 1 image; uploaded the manifest of 1 image",
    ]
    assert closing_lines([mounted], 12, check_mode=True)[-1] == "would mount the layers of 1 image"


def test_last_lines_count_many_unchanged_images() -> None:
    many = [unchanged(f"app:{number}") for number in range(21)]

    assert closing_lines([copied("api:1", SENT, SENT), *many], 12)[-1].endswith("; 21 images unchanged")
    assert len(closing_lines([copied("api:1", SENT, SENT), *many], 12)) == 1
    assert closing_lines(many[:3], 12) == ["3 images unchanged"]
    assert closing_lines([]) == []


def test_last_lines_have_planned_copies_in_check_mode() -> None:
    lines = closing_lines([copied("app:1", SENT, SENT), unchanged("api:1"), failed_referrer()], 12, check_mode=True)

    assert [line.partition("  ")[2] for line in lines[:3]] == [
        "would upload 1 of 1 layer, 1.0 MiB",
        "not copied: it is damaged",
        "unchanged",
    ]
    assert lines[3] == "would upload 1 image, 1.0 MiB; 1 image unchanged; 1 referrer failed"


def test_last_lines_count_referrers() -> None:
    signature = copied("sha256-4b.sig", SENT, SENT)
    referrer = replace(signature, plan=replace(signature.plan, job=replace(signature.plan.job, subject=ROOT)))

    assert closing_lines([copied("app:1", SENT, MOUNTED), referrer], 2) == [
        "mounted the layers of 1 image in 2.0 s; uploaded 1 referrer, 1.0 MiB",
    ]


@pytest.mark.parametrize(
    ("result", "sent"),
    [
        (copied("app:1", SENT, SENT, MOUNTED, PRESENT), "1 of 3 layers, 1.0 MiB to copy, 1 of 3 layers to mount"),
        (copied("app:1", SENT, MOUNTED, PRESENT), "1 of 2 layers to mount"),
        (copied("app:1", PRESENT, PRESENT), "only the manifest to copy"),
        (copied("app:1", SENT, PRESENT), "only the manifest and the config to copy"),
    ],
)
def test_diff_has_new_digest_and_bytes_to_copy(result: ImageResult, sent: str) -> None:
    assert report([result])["diff"]["after"] == f"app:1 {ROOT} ({sent})\n"


def test_diff_states_uncompressed_size_of_layers_to_compress() -> None:
    layer = Descriptor(OCI_LAYER, f"sha256:{1:064}", 1 << 20)
    steps = (BlobStep(layer, SENT, layer=layer, unknown=True),)
    plan = ImagePlan(ImageJob("app:1", target="app:1"), manifests=(MANIFEST,), steps=steps)

    diff = report([ImageResult(plan, "", plan.blobs)])["diff"]

    assert diff["after"] == "app:1 (known after compression) (1 of 1 layer, 1.0 MiB uncompressed to copy)\n"
