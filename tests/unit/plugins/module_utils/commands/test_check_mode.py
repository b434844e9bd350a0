# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode reports the same plan as the run after it, blob by blob, for generated sources and destinations."""

from __future__ import annotations

import copy
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.plugins.module_utils.support import upstream_servers
from unit.plugins.module_utils.support.engine_server import EngineServer, classic
from unit.plugins.module_utils.support.images import (
    Image,
    layout_files,
    make_image,
    make_index,
    tar,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)
from unit.plugins.module_utils.support.registry_server import RegistryServer

Run = Callable[..., dict[str, Any]]

LAYERS = [b"layer %d" % number for number in range(4)]
SIGNATURE = make_image(b"the signature")
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/s390x")
REPOSITORIES = ("app", "web", "team/app")

# Hypothesis shares the fixtures among all examples; each example sets the state that it needs.
bounded = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

few = settings(bounded, max_examples=20)

repositories = st.sampled_from(REPOSITORIES)
tags = st.sampled_from(["1", "2"])
single_images = st.lists(st.sampled_from(LAYERS), min_size=1, max_size=3).map(lambda files: make_image(*files))
indexes = st.lists(single_images, min_size=1, max_size=3).map(lambda images: make_index(dict(zip(PLATFORMS, images))))


@dataclass
class State:
    """The content of a store before the run.

    Attributes:
        images: The images, each with its repository and its tag; a tag of ``None`` stores it by digest only.
        blobs: Blobs without an image, each with its repository.
    """

    images: list[tuple[str, str | None, Image]]
    blobs: list[tuple[str, bytes]]

    def fill(self, server: RegistryServer) -> None:
        """Replace the content of a registry."""
        server.manifests.clear()
        server.blobs.clear()
        for repository, content in self.blobs:
            server.blobs.setdefault(repository, {})[digest_of(content)] = content
        for repository, tag, image in self.images:
            server.fill(repository, tag, image)


@st.composite
def pools(draw: st.DrawFn) -> list[Image]:
    """Generate images that share layers and platforms."""
    return draw(st.lists(st.one_of(single_images, indexes), min_size=1, max_size=4))


def states(pool: Sequence[Image]) -> st.SearchStrategy[State]:
    """Generate states of a store with some of these images and some of their blobs."""
    manifests = {entry["digest"] for image in pool for entry in image.manifest.get("manifests", [])}
    manifests |= {image.digest for image in pool}
    contents = [part for image in pool for digest, part in image.contents.items() if digest not in manifests]
    images = st.tuples(repositories, st.one_of(st.none(), tags), st.sampled_from(pool))
    blobs = st.tuples(repositories, st.sampled_from(contents))
    return st.builds(State, st.lists(images, max_size=4), st.lists(blobs, max_size=6))


def write_source(folder: Path, kind: str, image: Image) -> str:
    """Write an image to a source of this kind, or to a layout if the kind cannot store it. Return the source."""
    path = folder / image.digest.partition(":")[2]
    if kind == "docker-archive" and image.files:
        return f"docker-archive:{write_docker_archive(path, [(['app:1'], image)])}"
    if kind == "oci-archive":
        return f"oci-archive:{write_oci_archive(path.with_suffix('.tar'), {'app:1': image})}"
    return f"oci:{write_layout(path.with_suffix('.layout'), {'app:1': image})}"


def run_three_times(run: Run, *images: Any, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the results of check mode, of the run, and of a second run."""
    planned = copy.deepcopy(run(*images, check_mode=True, **options))
    return planned, copy.deepcopy(run(*images, **options)), run(*images, **options)


@dataclass
class RemoteStores:
    """The stores without files: an upstream registry and a Docker engine."""

    upstream: RegistryServer
    engine: EngineServer

    @property
    def options(self) -> dict[str, Any]:
        """The module options for these stores."""
        return {"upstreams": upstream_servers.settings(self.upstream), "docker_host": self.engine.host}

    def put(self, folder: Path, kind: str, image: Image) -> str:
        """Store an image and its signature in a source of this kind, or in a layout if the kind cannot store it.

        Returns:
            The source, as users write it.
        """
        encoded = image.digest.partition(":")[2]
        signature = {f"sha256-{encoded}.sig": SIGNATURE}
        if kind == "docker":
            for tag, content in {"1": image, **signature}.items():
                self.upstream.fill(encoded, tag, content)
            return upstream_servers.source(self.upstream, f"{encoded}:1")
        if kind == "docker-daemon" and image.files:
            self.engine.add(f"example.com/{encoded}:1", classic(image))
            return f"docker-daemon:example.com/{encoded}:1"
        path, images = folder / f"{kind}-{encoded}", {"app:1": image, **signature}
        if kind == "oci-archive":
            return f"oci-archive:{write_oci_archive(path, images)}:app:1"
        return f"oci:{write_layout(path, images)}:app:1"


@pytest.fixture
def remotes(tmp_path: Path, upstream: RegistryServer) -> Iterator[RemoteStores]:
    """An upstream registry and a Docker engine, both empty."""
    with EngineServer(tmp_path).running() as engine:
        yield RemoteStores(upstream, engine)


@bounded
@given(data=st.data())
def test_check_mode_predicts_push_of_each_blob(
    push: Run, registry: Registry, server: RegistryServer, data: st.DataObject
) -> None:
    pool = data.draw(pools(), "images")
    data.draw(states(pool), "registry").fill(server)
    registry.identity = secrets.token_hex(8)
    names = st.tuples(repositories, st.one_of(st.none(), tags))
    targets = data.draw(st.dictionaries(names, st.sampled_from(pool), min_size=1, max_size=4), "targets")
    repeats = data.draw(st.lists(st.sampled_from(sorted(targets, key=str)), max_size=2), "repeated targets")
    kind = data.draw(st.sampled_from(["oci", "oci-archive", "docker-archive"]), "source")
    mount_from = data.draw(st.lists(repositories, unique=True), "mount_from")
    compression = data.draw(st.sampled_from(["none", "gzip"]), "compression")
    with tempfile.TemporaryDirectory() as folder:
        entries = []
        for repository, tag in [*targets, *repeats]:
            image = targets[repository, tag]
            # Images of Docker archives have no digest: their manifests are made by the collection.
            source = write_source(Path(folder), kind if tag else "oci", image)
            name = f"example.com/{repository}"
            entries.append({"source": source, "name": f"{name}:{tag}" if tag else f"{name}@{image.digest}"})

        planned, done, repeated = run_three_times(push, *entries, mount_from=mount_from, compression=compression)

    assert "failed" not in done
    assert without_compression_results(planned) == without_compression_results(done)
    assert repeated["changed"] is False
    assert [each["digest"] for each in repeated["images"]] == [each["digest"] for each in done["images"]]


@bounded
@given(data=st.data())
def test_check_mode_predicts_pull_of_each_blob(pull: Run, server: RegistryServer, data: st.DataObject) -> None:
    pool = data.draw(pools(), "images")
    names = st.tuples(repositories, tags)
    targets = data.draw(st.dictionaries(names, st.sampled_from(pool), min_size=1, max_size=4), "targets")
    repeats = data.draw(st.lists(st.sampled_from(sorted(targets)), max_size=2), "repeated targets")
    State([(*name, image) for name, image in targets.items()], []).fill(server)
    existing = data.draw(states(pool), "destination")
    kind = data.draw(st.sampled_from(["oci", "oci-archive"]), "kind of destination")
    files = layout_files({f"example.com/{name}:{tag or 'none'}": image for name, tag, image in existing.images})
    files.update({f"blobs/{digest_of(content).replace(':', '/')}": content for _name, content in existing.blobs})
    exists = data.draw(st.booleans(), "destination exists")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "destination"
        if exists and kind == "oci":
            write_files(path, files)
        elif exists:
            path.write_bytes(tar(*files.items()))
        entries = [
            {"name": f"example.com/{name}:{tag}", "dest": f"{kind}:{path}"} for name, tag in [*targets, *repeats]
        ]

        planned, done, repeated = run_three_times(pull, *entries)

    assert "failed" not in done
    assert planned == done
    assert repeated["changed"] is False
    assert [each["digest"] for each in repeated["images"]] == [image.digest for image in targets.values()] + [
        targets[name].digest for name in repeats
    ]


@few
@given(data=st.data())
def test_check_mode_predicts_push_from_any_source(
    push: Run, registry: Registry, server: RegistryServer, remotes: RemoteStores, data: st.DataObject
) -> None:
    pool = data.draw(pools(), "images")
    data.draw(states(pool), "registry").fill(server)
    registry.identity = secrets.token_hex(8)
    targets = data.draw(st.dictionaries(st.tuples(repositories, tags), st.sampled_from(pool), min_size=1), "targets")
    kind = data.draw(st.sampled_from(["oci", "oci-archive", "docker", "docker-daemon"]), "source")
    platforms = data.draw(st.sampled_from([[], ["linux/amd64"]]), "platforms")
    modes = ["auto", False] if kind == "docker-daemon" else ["auto", False, True]
    referrers = data.draw(st.sampled_from(modes), "referrers")
    locked = data.draw(st.booleans(), "lock")
    with tempfile.TemporaryDirectory() as folder:
        entries = [
            {
                "source": remotes.put(Path(folder), kind, image),
                "name": f"example.com/{repository}:{tag}",
                "platforms": platforms,
                "referrers": referrers,
            }
            for (repository, tag), image in targets.items()
        ]
        options = {"lock": f"{folder}/lock.json" if locked else None, "compression": "none", "tmp_dest": folder}

        planned, done, repeated = run_three_times(push, *entries, **options, **remotes.options)

    assert "failed" not in done, done["msg"]
    assert planned == done
    assert repeated["changed"] is False


@few
@given(data=st.data())
def test_check_mode_predicts_pull_to_any_destination(
    pull: Run, server: RegistryServer, remotes: RemoteStores, data: st.DataObject
) -> None:
    pool = data.draw(pools(), "images")
    targets = data.draw(st.dictionaries(st.tuples(repositories, tags), st.sampled_from(pool), min_size=1), "targets")
    State([(*name, image) for name, image in targets.items()], []).fill(server)
    for repository, _tag in targets:
        for image in pool:
            server.fill(repository, f"{image.digest.replace(':', '-')}.sig", SIGNATURE)
    kind = data.draw(st.sampled_from(["oci", "oci-archive", "docker-archive", "docker-daemon"]), "destination")
    platforms = data.draw(st.sampled_from([[], ["linux/amd64"]]), "platforms")
    modes = ["auto", False, True] if kind in ("oci", "oci-archive") else ["auto", False]
    referrers = data.draw(st.sampled_from(modes), "referrers")
    remotes.engine.images.clear()
    with tempfile.TemporaryDirectory() as folder:
        entries = [
            {
                "name": f"example.com/{repository}:{tag}",
                "dest": "docker-daemon:" if kind == "docker-daemon" else f"{kind}:{folder}/destination",
                # A Docker archive cannot store an index.
                "platforms": platforms or (["linux/amd64"] if kind == "docker-archive" else []),
                "referrers": referrers,
            }
            for repository, tag in targets
        ]

        planned, done, repeated = run_three_times(pull, *entries, docker_host=remotes.engine.host)

    assert "failed" not in done, done["msg"]
    assert planned == done
    assert repeated["changed"] is False


def without_compression_results(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result without the digests and sizes that are known only after compression."""
    kept = copy.deepcopy(result)
    for image in kept["images"]:
        compressed = [blob for blob in image["blobs"] if "uncompressed" in blob]
        for blob in compressed:
            del blob["digest"], blob["size"]
        if compressed:
            del image["digest"]
            kept["diff"]["after"] = ""
            for action in ("present", "mounted", "sent"):
                del image[action]["bytes"]
    return kept


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files and their folders."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_check_mode_names_blob_missing_at_source(
    push: Run, remotes: RemoteStores, tmp_path: Path, image: Image, kind: str
) -> None:
    source, missing = remotes.put(tmp_path, kind, image), image.layers[0]
    for blobs in remotes.upstream.blobs.values():
        blobs.pop(missing, None)
    for path in tmp_path.glob(f"*/blobs/sha256/{missing.partition(':')[2]}"):
        path.write_bytes(b"cut off")

    for check_mode in (True, False):
        result = push({"source": source, "name": "app:1"}, check_mode=check_mode, **remotes.options)

        assert missing in result["images"][0]["error"]
        assert not result["changed"]


def test_check_mode_names_blob_missing_in_cluster(
    pull: Run, server: RegistryServer, tmp_path: Path, image: Image
) -> None:
    server.fill("app", "1", image)
    del server.blobs["app"][image.layers[0]]

    for check_mode in (True, False):
        result = pull({"name": "example.com/app:1", "dest": f"oci:{tmp_path}/app"}, check_mode=check_mode)

        assert f"does not have the blob {image.layers[0]}" in result["images"][0]["error"]
