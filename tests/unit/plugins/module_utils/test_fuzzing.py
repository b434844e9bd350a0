# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever is in an archive, a layout or a registry, an error is one of ours, and comes soon.

A few examples run each time; ``K8SCR_FUZZ_EXAMPLES`` says how many others to try.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.tar_reader import TarFiles
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of, verified
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.graph import walk_manifests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.interfaces import ImageSource, SourceImage
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX, OCI_MANIFEST
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.platform import Platform
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.client import Registry
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.repository import Repository
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.location import (
    Location,
    open_destination,
    open_source,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_index import entry_names
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.stores.oci_layout import OciLayoutSource
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.platforms import PlatformSource
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.referrers import attached_to, referrers_in
from hypothesis import example, given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.fuzzing import (
    HEADERS,
    Lie,
    bounds,
    fuzzed,
    lies,
    refusable,
    require_one_line,
)
from unit.plugins.module_utils.support.hostile_images import (
    SOUND_ARCHIVE,
    SOUND_IMAGE,
    Hostile,
    HostileArchive,
    as_document,
    documents,
    hostile_archives,
    hostile_images,
)
from unit.plugins.module_utils.support.images import describe, make_image, tar, write_layout
from unit.plugins.module_utils.support.registry_server import Answer, Fault, RegistryServer
from unit.plugins.module_utils.support.stores import put, read_image
from unit.plugins.module_utils.support.upstream_servers import Asked, TokenServer

Run = Callable[..., dict[str, Any]]
ENTRY = describe(b"{}", OCI_MANIFEST, artifactType="application/vnd.example.signature", annotations={"a": "b"})
ARCHIVES = ("oci-archive", "docker-archive")
TOKEN = {"token": "abc", "expires_in": 300}
REFERRERS = {"schemaVersion": 2, "manifests": [ENTRY]}


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the examples of a test are written, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "hostile"


def remove(place: Path) -> None:
    """Make room for the next example."""
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def read_all(source: ImageSource, image: SourceImage) -> None:
    """Read an image in every way that a push does."""
    selected = PlatformSource(source, [Platform("linux", "amd64")])
    for kind, root in ((source, image), (selected, selected.select(image))):
        for manifest in walk_manifests(kind, root.root):
            for blob in manifest.blobs:
                with kind.open_blob(blob) as blocks:
                    for _block in verified(blocks, blob.digest, blob.size, "the blob"):
                        pass
    if isinstance(source, OciLayoutSource):
        list(attached_to(source, referrers_in(source), image.root))


def read_place(location: Location, sound: bool) -> None:
    """Read all images of a place; one that cannot be read hides no other."""
    with closing(open_source(location)) as source:
        for image in source.images():
            with refusable(sound):
                read_all(source, image)


def read_images(location: Location) -> dict[str, dict[str, bytes]]:
    """Return the contents of the images of a place that are whole, by name; none where nothing can be read."""
    found = {}
    with suppress(K8scrError), closing(OciLayoutSource(TarFiles(location.path))) as source:
        for image in source.entries:
            with suppress(K8scrError):
                found[(*entry_names(image), image.digest)[0]] = read_verified(source, image)
    return found


def read_verified(source: ImageSource, root: Descriptor) -> dict[str, bytes]:
    """Return all that an image consists of, by digest; each part has the digest and the size of its descriptor."""
    contents = read_image(source, root)
    for manifest in walk_manifests(source, root):
        for part in (manifest.descriptor, *manifest.blobs):
            content = memoryview(contents[part.digest])
            list(verified([content], part.digest, part.size, "the part"))
    return contents


@pytest.fixture
def tokens() -> Iterator[HostileTokenServer]:
    """A token server that answers anything."""
    with HostileTokenServer().running() as running:
        assert isinstance(running, HostileTokenServer)
        yield running


class HostileTokenServer(TokenServer):
    """A token server.

    Attributes:
        text: What it answers in the place of a token.
    """

    text = b""

    def answer(self, asked: Asked) -> Answer:
        """See :meth:`TokenServer.answer`."""
        return Answer(200, {}, self.text)


def start_anew(server: RegistryServer, *told: Lie) -> None:
    """Have an empty registry that lies."""
    server.manifests.clear()
    server.blobs.clear()
    server.uploads.clear()
    server.faults[:] = [Fault(lie.method, lie.path, lie.tell, lie.times) for lie in told]


def require_lines(result: dict[str, Any], sound: bool) -> None:
    """See that whatever failed says so in one line, and that nothing failed where nothing was wrong."""
    assert not (sound and result.get("failed")), result.get("msg")
    for image in result["images"]:
        require_one_line(image.get("error", ""))


@fuzzed
@given(transport=st.sampled_from([*ARCHIVES, ""]), archive=hostile_archives())
@example(transport="oci-archive", archive=SOUND_ARCHIVE)
@example(transport="docker-archive", archive=SOUND_ARCHIVE)
@example(transport="", archive=HostileArchive(gzip.compress(SOUND_ARCHIVE.content)))
def test_random_archive_is_read_or_rejected(place: Path, transport: str, archive: HostileArchive) -> None:
    place.write_bytes(archive.content)

    with bounds(archive.sound):
        read_place(Location(transport, place), archive.sound)


@fuzzed
@given(transport=st.sampled_from(ARCHIVES), hostile=hostile_images())
@example(transport="oci-archive", hostile=SOUND_IMAGE)
@example(transport="docker-archive", hostile=SOUND_IMAGE)
def test_random_image_in_a_valid_archive_is_read_or_rejected(place: Path, transport: str, hostile: Hostile) -> None:
    place.write_bytes(tar(*hostile.files.items()))

    with bounds(hostile.sound):
        read_place(Location(transport, place), hostile.sound)


@fuzzed
@given(transport=st.sampled_from(ARCHIVES), archive=hostile_archives())
@example(transport="oci-archive", archive=SOUND_ARCHIVE)
@example(transport="docker-archive", archive=SOUND_ARCHIVE)
def test_archive_is_rejected_unchanged_or_has_all_images_after_write(
    place: Path, transport: str, archive: HostileArchive
) -> None:
    place.write_bytes(archive.content)
    location, image = Location(transport, place), make_image()
    before = read_images(location)

    with bounds(archive.sound and not archive.compressed):
        try:
            with closing(open_destination(location)) as destination:
                put(destination, image, "example.com/app:2")
                destination.commit()
        except K8scrError:
            assert place.read_bytes() == archive.content
            raise
        assert read_images(location) == {**before, "example.com/app:2": image.contents}
    assert list(place.parent.iterdir()) == [place]


@fuzzed
@given(
    kind=st.sampled_from(ARCHIVES),
    hostile=hostile_images(),
    options=st.fixed_dictionaries({}, optional={"platforms": st.just(["linux/amd64"]), "referrers": st.just(True)}),
)
@example(kind="oci-archive", hostile=SOUND_IMAGE, options={"platforms": ["linux/amd64"], "referrers": True})
@example(kind="docker-archive", hostile=SOUND_IMAGE, options={})
def test_push_of_random_images_fails_with_one_line_each(
    push: Run, server: RegistryServer, place: Path, kind: str, hostile: Hostile, options: dict[str, Any]
) -> None:
    start_anew(server)
    place.write_bytes(tar(*hostile.files.items()))

    # A Docker archive has no place for referrers.
    sound = hostile.sound and not (kind == "docker-archive" and "referrers" in options)
    with bounds(sound):
        result = push({"source": f"{kind}:{place}:example.com/app:1", **options})
        require_lines(result, sound)


@fuzzed
@given(
    kind=st.sampled_from(["oci", *ARCHIVES]), hostile=hostile_images(), told=st.lists(lies("HEAD", "GET"), max_size=2)
)
@example(kind="oci", hostile=SOUND_IMAGE, told=[])
@example(kind="oci-archive", hostile=SOUND_IMAGE, told=[])
@example(kind="docker-archive", hostile=SOUND_IMAGE, told=[])
def test_pull_from_hostile_registry_returns_the_requested_content_or_fails(
    pull: Run, server: RegistryServer, place: Path, kind: str, hostile: Hostile, told: list[Lie]
) -> None:
    start_anew(server, *told)
    root = digest_of(hostile.root)
    server.blobs["library/app"] = dict(hostile.contents)
    server.manifests["library/app"] = {
        digest: (OCI_INDEX if b'"manifests":' in content else OCI_MANIFEST, content)
        for digest, content in hostile.contents.items()
    }
    for reference in ("1", root):
        server.manifests["library/app"][reference] = (OCI_INDEX, hostile.root)

    # A Docker archive takes one platform.
    platforms = {"platforms": ["linux/amd64"]} if kind == "docker-archive" else {}
    sound = hostile.sound and not told
    with bounds(sound):
        result = pull({"name": "library/app:1", "dest": f"{kind}:{place}:app", **platforms})
        require_lines(result, sound)
        if result.get("failed"):
            assert not (place / "index.json" if kind == "oci" else place).exists()
        else:
            read_place(Location(kind, place), sound)
    remove(place)


@fuzzed
@given(told=st.lists(lies("HEAD", "GET", "POST", "PATCH", "PUT"), min_size=1, max_size=2))
@example(told=[])
def test_push_to_hostile_registry_fails_with_one_line(
    push: Run, server: RegistryServer, place: Path, told: list[Lie]
) -> None:
    start_anew(server, *told)
    write_layout(place, {"app:1": make_image()})

    with bounds(not told):
        require_lines(push({"source": f"oci:{place}", "referrers": True}), not told)


@fuzzed
@given(
    told=st.lists(lies("HEAD", "GET"), max_size=2),
    challenge=st.sampled_from([*HEADERS["WWW-Authenticate"], *[None] * 10]),
    answer=documents(TOKEN),
)
@example(told=[], challenge=None, answer=as_document(TOKEN))
def test_hostile_upstream_registry_is_read_or_rejected(
    push: Run, server: RegistryServer, tokens: HostileTokenServer, told: list[Lie], challenge: str | None, answer: bytes
) -> None:
    start_anew(server, *told)
    server.fill("up/app", "1", make_image())
    tokens.text = answer
    denied = Answer(401, {"WWW-Authenticate": challenge or f'Bearer realm="{tokens.url}"'})
    server.guard = lambda path, headers: (
        denied if "/up/app/" in path and headers.get("Authorization") != "Bearer abc" else None
    )
    host = server.url.removeprefix("http://")
    upstream = {"host": host, "plain_http": True, "username": "user", "password": "the secret"}

    sound = not told and challenge is None and answer == as_document(TOKEN)
    with bounds(sound):
        result = push({"source": f"docker://{host}/up/app:1", "name": "app:1"}, upstreams=[upstream])
        require_lines(result, sound)

    assert "the secret" not in str(result)


@fuzzed
@given(told=st.lists(lies("GET"), max_size=1), document=documents(REFERRERS))
@example(told=[], document=as_document(REFERRERS))
def test_hostile_list_of_referrers_is_read_or_rejected(
    registry: Registry, server: RegistryServer, told: list[Lie], document: bytes
) -> None:
    start_anew(server)
    image = make_image()
    server.fill("app", "1", image)
    headers = {"Content-Type": OCI_INDEX}
    listing = Lie("GET", "/referrers/", 200, headers, document, 1_000_000)
    server.faults[:] = [Fault(lie.method, lie.path, lie.tell, lie.times) for lie in (*told, listing)]
    repository = Repository(registry, "app")

    with bounds(not told and document == as_document(REFERRERS)):
        list(attached_to(repository, referrers_in(repository), image.root))
