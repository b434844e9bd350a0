# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images in one Pod: digests that container runtimes report, and hostile Pods."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.pod_images import digest_in, images_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.reference import parse_reference
from hypothesis import given
from hypothesis import strategies as st

HEX = "5a" * 32
DIGEST = f"sha256:{HEX}"
SHA512 = f"sha512:{'5a' * 64}"
NAMES = ("name", "image", "imageID", "volumeMounts", "volumeStatus", "imageRef", "reference", "containers")
SECTIONS = ("initContainers", "containers", "ephemeralContainers", "volumes", "containerStatuses")
JSON: Any = st.recursive(
    st.sampled_from((None, True, 7, 0.5, "", " ", "main", "web:1", HEX, DIGEST, f"web@{DIGEST}", "docker://")),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.sampled_from(NAMES), values, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        (f"docker.io/library/web@{DIGEST}", DIGEST),
        (f"registry.example.com:5000/team/web:1.2@{DIGEST}", DIGEST),
        (f"registry.example.com/team/web@{SHA512}", SHA512),
        (DIGEST, DIGEST),
        (HEX, DIGEST),
        (f"docker-pullable://team/web@{DIGEST}", DIGEST),
        (f"docker://{DIGEST}", DIGEST),
        ("", None),
        ("team/web:1.2", None),
        ("sha256:5a", None),
        (f"team/web@{DIGEST}\n", None),
        (None, None),
        (["sha256"], None),
    ],
    ids=[
        "containerd", "port and tag", "sha512", "imported into containerd", "imported into CRI-O", "Docker",
        "built by Docker", "not pulled yet", "tag", "short", "line break", "none", "list",
    ],
)  # fmt: skip
def test_digest_is_read_from_forms_of_runtimes(image_id: object, digest: str | None) -> None:
    assert digest_in(image_id) == digest


def test_digest_belongs_to_container_of_same_name() -> None:
    spec = {
        "initContainers": [{"name": "init", "image": "init:1"}],
        "containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}],
        "ephemeralContainers": [{"name": "debug", "image": "debug:1"}],
    }
    status = {
        "initContainerStatuses": [{"name": "init", "imageID": f"init@{DIGEST}"}],
        "containerStatuses": [{"name": "b", "imageID": f"b@{SHA512}"}, {"name": "a", "imageID": ""}],
        "ephemeralContainerStatuses": [{"name": "debug", "imageID": HEX}],
    }

    digests = {found.image: found.digest for found in images_of(spec, status)}

    assert digests == {"init:1": DIGEST, "a:1": None, "b:1": SHA512, "debug:1": DIGEST}


def test_digest_of_image_volume_is_read_from_its_mount() -> None:
    spec = {
        "containers": [{"name": "main", "image": "main:1"}],
        "volumes": [{"name": "model", "image": {"reference": "model:1", "pullPolicy": "Always"}}],
    }
    mounts = [{"name": "model", "mountPath": "/m", "volumeStatus": {"image": {"imageRef": f"model@{DIGEST}"}}}]
    status = {"containerStatuses": [{"name": "main", "volumeMounts": mounts}]}

    digests = {found.image: found.digest for found in images_of(spec, status)}

    assert digests == {"main:1": None, "model:1": DIGEST}


def test_containers_without_image_are_skipped() -> None:
    spec = {"containers": [{"name": "a"}, {"name": "b", "image": ""}, {"name": "c", "image": " "}, {"image": None}]}

    assert list(images_of(spec, {})) == []


def test_long_name_is_shortened_to_invalid_name() -> None:
    spec = {"containers": [{"name": "a", "image": f"registry.{'x' * 1_000_000}/web:1"}]}

    (found,) = images_of(spec, {})

    assert len(found.image) < 1100
    with pytest.raises(InputError, match="not a valid image name"):
        parse_reference(found.image)


ANNOTATIONS = ("original-image.k8scr.core/c0", "original-volume.k8scr.core/c0")
MIRROR = "localhost:30501"


@pytest.mark.parametrize(
    ("original", "image"),
    [
        ("busybox:1", f"{MIRROR}/library/busybox:1"),
        ("busybox", f"{MIRROR}/library/busybox:latest"),
        ("quay.io/team/api:1", f"{MIRROR}/team/api:1"),
        ("quay.io/team/api:1", f"{MIRROR}/quay.io/team/api:1"),
        ("localhost:5000/team/api:1", f"{MIRROR}/localhost_5000/team/api:1"),
        (f"quay.io/team/api:1@{DIGEST}", f"{MIRROR}/team/api@{DIGEST}"),
    ],
)
def test_original_name_of_rewritten_image_is_in_annotation(original: str, image: str) -> None:
    spec = {"containers": [{"name": "c0", "image": image}], "volumes": [{"name": "c0", "image": {"reference": image}}]}

    found = images_of(spec, {}, dict.fromkeys(ANNOTATIONS, original))

    assert [(each.image, each.original) for each in found] == [(image, original)] * 2


@pytest.mark.parametrize(
    "annotation",
    [
        "quay.io/team/web:1",
        "quay.io/team/api:2",
        f"quay.io/team/api@{DIGEST}",
        "quay.io/mirror/team/api:1",
        f"quay.io/team/api:1{' ' * 2000}",
        "A",
        "",
        7,
        None,
        ["quay.io/team/api:1"],
    ],
)
def test_annotation_that_policy_cannot_have_written_is_ignored(annotation: Any) -> None:
    spec = {"containers": [{"name": "c0", "image": f"{MIRROR}/team/api:1"}]}

    (found,) = images_of(spec, {}, {ANNOTATIONS[0]: annotation})

    assert found.original is None


@given(
    spec=st.dictionaries(st.sampled_from(SECTIONS), JSON),
    status=st.dictionaries(st.sampled_from(SECTIONS), JSON),
    annotations=st.dictionaries(st.sampled_from(ANNOTATIONS), JSON),
)
def test_pod_with_any_values_is_no_error(
    spec: dict[str, Any], status: dict[str, Any], annotations: dict[str, Any]
) -> None:
    for found in images_of(spec, status, annotations):
        assert found.image.strip()
        assert found.digest is None or found.digest.startswith("sha256:")
