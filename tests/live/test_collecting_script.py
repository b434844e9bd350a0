# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script for garbage collections of the role registry with real registries, killed at many moments."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cluster import layout, packages
from cluster.media_types import CONFIG, LAYER, MANIFEST
from cluster.waiting import wait_until
from unit.roles.support.registry_script import RegistryScript, running

KILLS = 6
LAYERS = 60
PROGRAMS = {"distribution-3": layout.BIN / "registry", "distribution-2.8": Path("docker-registry")}


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def upload(script: RegistryScript, repository: str, content: bytes) -> dict[str, object]:
    """Upload a blob and return its size and digest."""
    begun = script.send("POST", f"/v2/{repository}/blobs/uploads/")
    assert begun is not None
    done = script.send(
        "PUT", f"{path_of(begun)}&digest={digest_of(content)}", content, **{"Content-Type": "application/octet-stream"}
    )
    assert done is not None
    assert done.status == 201
    return {"size": len(content), "digest": digest_of(content)}


def push(script: RegistryScript, repository: str, seed: int) -> str:
    """Push an image with many layers and return its digest."""
    contents = random.Random(seed)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, **upload(script, repository, json.dumps({"seed": seed}).encode())},
        "layers": [
            {"mediaType": LAYER, **upload(script, repository, contents.randbytes(1000))} for _layer in range(LAYERS)
        ],
    }
    content = json.dumps(manifest).encode()
    done = script.send("PUT", f"/v2/{repository}/manifests/1", content, **{"Content-Type": MANIFEST})
    assert done is not None
    assert done.status == 201
    return digest_of(content)


def bytes_of(script: RegistryScript, repository: str) -> int:
    """Pull the image with tag 1, compare the digests of its blobs and return its bytes."""
    response = script.send("GET", f"/v2/{repository}/manifests/1", Accept=MANIFEST)
    assert response is not None
    content: bytes = response.body  # type: ignore[attr-defined]
    manifest, size = json.loads(content), len(content)
    for blob in (manifest["config"], *manifest["layers"]):
        response = script.send("GET", f"/v2/{repository}/blobs/{blob['digest']}")
        assert response is not None
        assert digest_of(response.body) == blob["digest"]  # type: ignore[attr-defined]
        size += blob["size"]
    return size


@pytest.mark.parametrize("name", PROGRAMS)
def test_images_are_complete_and_nothing_leaks_after_kills(tmp_path: Path, name: str) -> None:
    shell = [str(packages.path_of("busybox")), "sh"]
    script = RegistryScript(tmp_path / "run", shell=shell, program=PROGRAMS[name])
    moments = random.Random(18)
    with running(script):
        script.wait_for("ready")
        push(script, "team/kept", 0)
        for number in range(1, KILLS + 1):
            digest = push(script, f"team/old-{number}", number)
            deleted = script.send("DELETE", f"/v2/team/old-{number}/manifests/{digest}")
            assert deleted is not None
            assert deleted.status == 202
            request = f"{number:032x}"
            script.request(request)
            wait_until(lambda: script.state() == "running", "the collection runs")
            time.sleep(moments.uniform(0, 1.2))

            script.kill()
            script.start()

            reported = script.wait_for(f"id={request} ")
            assert " status=done " in reported
            kept = bytes_of(script, "team/kept")
            assert reported.endswith(f" after={kept}")
            assert sum(path.stat().st_size for path in script.blobs.rglob("*") if path.is_file()) == kept


@pytest.mark.parametrize("name", PROGRAMS)
def test_upload_resumes_after_collection(tmp_path: Path, name: str) -> None:
    script = RegistryScript(tmp_path / "run", program=PROGRAMS[name])
    content = random.Random(0).randbytes(100_000)
    octets = {"Content-Type": "application/octet-stream"}
    with running(script):
        script.wait_for("ready")
        begun = script.send("POST", "/v2/team/app/blobs/uploads/")
        assert begun is not None
        sent = script.send("PATCH", path_of(begun), content[:60_000], **octets)
        assert sent is not None

        script.request("a1")
        wait_until(lambda: script.state() == "running", "the collection runs")
        rejected = script.send("PATCH", path_of(sent), content[60_000:], **octets)
        script.wait_for("id=a1 ")

        assert rejected is None or (rejected.status, rejected.headers["K8scr-Collection"]) == (405, "running")
        position = script.send("GET", path_of(sent))
        assert position is not None
        assert position.headers["Range"] == "0-59999"
        sent = script.send("PATCH", path_of(position), content[60_000:], **octets)
        assert sent is not None
        done = script.send("PUT", f"{path_of(sent)}&digest={digest_of(content)}")
        assert done is not None
        assert done.status == 201


def path_of(response: http.client.HTTPResponse) -> str:
    """Return the path and the query of the address in a response's header Location."""
    location = urlsplit(response.headers["Location"])
    return f"{location.path}?{location.query}"
