# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.pull_failures import pull_failure

BACK_OFF = 'Back-off pulling image "registry.example.com/a:1": ErrImagePull: '
RPC = "rpc error: code = NotFound desc = "
CONTAINERD = 'failed to pull and unpack image "registry.example.com/a:1": failed to resolve image: '


@pytest.mark.parametrize(
    ("message", "reason", "is_permanent"),
    [
        pytest.param(
            f"{BACK_OFF}{RPC}get image config descriptor: no match for platform in manifest sha256:12: not found",
            "the image has no manifest for linux/amd64, the platform of the node: no match for platform in manifest",
            True,
            id="containerd, platform",
        ),
        pytest.param(
            'choosing image instance: no image found in image index for architecture "amd64", variant "", OS "linux"',
            "the image has no manifest for linux/amd64, the platform of the node: choosing image instance: no image",
            True,
            id="CRI-O, platform",
        ),
        pytest.param(
            f"{RPC}{CONTAINERD}registry.example.com/a:1: not found",
            "the registry does not have the image: registry.example.com/a:1: not found",
            True,
            id="containerd, missing",
        ),
        pytest.param(
            "initializing source docker://registry.example.com/a:1: reading manifest 1 in registry.example.com/a: "
            "manifest unknown",
            "the registry does not have the image: initializing source",
            True,
            id="CRI-O, missing",
        ),
        pytest.param(
            f'{CONTAINERD}failed to do request: Head "https://registry.example.com:5000/v2/a/manifests/1": '
            "dial tcp 192.0.2.1:5000: connect: connection refused",
            "the node does not reach the registry at registry.example.com:5000: failed to do request: Head",
            False,
            id="unreachable",
        ),
        pytest.param(
            f'{CONTAINERD}failed to do request: Head "https://registry.example.com/v2/a/manifests/1": http: server '
            "gave HTTP response to HTTPS client",
            "the registry at registry.example.com serves HTTP, and the node uses HTTPS for it: failed to do request",
            True,
            id="HTTP",
        ),
        pytest.param(
            f'{CONTAINERD}failed to do request: Head "https://registry.example.com/v2/a/manifests/1": tls: failed to '
            "verify certificate: x509: certificate signed by unknown authority",
            "TLS with the registry at registry.example.com failed: failed to do request",
            True,
            id="certificate",
        ),
        pytest.param(
            f"{CONTAINERD}unexpected status from HEAD request to https://registry.example.com/v2/a/manifests/1: "
            "401 Unauthorized",
            "the registry at registry.example.com denies access to the image: unexpected status",
            True,
            id="credentials",
        ),
        pytest.param(
            "failed to extract layer sha256:12: write /var/lib/containerd/tmp/blob: no space left on device",
            "the disk of the node is full: failed to extract layer",
            False,
            id="full disk",
        ),
        pytest.param(
            f"{CONTAINERD}unexpected status from HEAD request to https://registry.example.com/v2/a/manifests/1: "
            "503 Service Unavailable",
            "the registry at registry.example.com returned an error: unexpected status",
            False,
            id="registry error",
        ),
        pytest.param(
            "Evicted: The node had condition: [DiskPressure].",
            "the disk of the node is full: Evicted: The node had condition: [DiskPressure]",
            False,
            id="eviction",
        ),
        pytest.param("OutOfcpu: Node didn't have", "OutOfcpu: Node didn't have", False, id="other"),
        pytest.param("", "the kubelet gives no reason", False, id="none"),
    ],
)
def test_pull_failure_names_cause_in_message_of_kubelet(message: str, reason: str, is_permanent: bool) -> None:
    failure = pull_failure(message, "linux/amd64")

    assert failure.reason.startswith(reason)
    assert failure.is_permanent is is_permanent


def test_pull_failure_keeps_end_of_long_message() -> None:
    reason = pull_failure(f"{'x' * 1000} no space left on device", "linux/amd64").reason

    assert reason.startswith("the disk of the node is full: …xxx")
    assert reason.endswith("no space left on device")
    assert len(reason) < 500


def test_pull_failure_ignores_numbers_in_digests() -> None:
    assert pull_failure("layer sha256:a401 f503 failed", "linux/amd64").reason == "layer sha256:a401 f503 failed"
