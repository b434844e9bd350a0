# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Arbitrary archives, layouts and registries cause only errors of the collection, in limited time and memory.

Each run has the same few examples; ``K8SCR_FUZZ_EXAMPLES`` sets the number of random ones.
"""

from __future__ import annotations

import gzip
import lzma
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
from hypothesis import example, given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.copies import attached_to
from unit.plugins.module_utils.support.fuzzing import (
    HEADERS,
    HostileResponse,
    bounds,
    error_allowed,
    fuzzed,
    hostile_responses,
    require_one_line,
)
from unit.plugins.module_utils.support.hostile_images import (
    VALID_ARCHIVE,
    VALID_IMAGE,
    Hostile,
    HostileArchive,
    as_document,
    documents,
    hostile_archives,
    hostile_images,
)
from unit.plugins.module_utils.support.images import describe, make_image, tar, write_layout
from unit.plugins.module_utils.support.registry_server import Fault, RegistryServer, Response
from unit.plugins.module_utils.support.stores import put, read_image
from unit.plugins.module_utils.support.upstream_servers import ReceivedRequest, TokenServer

Run = Callable[..., dict[str, Any]]
ENTRY = describe(b"{}", OCI_MANIFEST, artifactType="application/vnd.example.signature", annotations={"a": "b"})
ARCHIVES = ("oci-archive", "docker-archive")
TOKEN = {"token": "abc", "expires_in": 300}
REFERRERS = {"schemaVersion": 2, "manifests": [ENTRY]}


@pytest.fixture
def path() -> Iterator[Path]:
    """The path to which a test writes its examples, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "hostile"


def remove(path: Path) -> None:
    """Delete an example."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_all(source: ImageSource, image: SourceImage) -> None:
    """Read an image with all operations of a push."""
    selected = PlatformSource(source, [Platform("linux", "amd64")])
    for kind, root in ((source, image), (selected, selected.select(image))):
        for manifest in walk_manifests(kind, root.root):
            for blob in manifest.blobs:
                with kind.open_blob(blob) as blocks:
                    for _block in verified(blocks, blob.digest, blob.size, "the blob"):
                        pass
    if isinstance(source, OciLayoutSource):
        attached_to(source, image.root)


def read_location(location: Location, valid: bool) -> None:
    """Read all images of a location, also after a failed one."""
    with closing(open_source(location)) as source:
        for image in source.images():
            with error_allowed(valid):
                read_all(source, image)


def read_images(location: Location) -> dict[str, dict[str, bytes]]:
    """Return the contents of the complete images of a location, by name; none if it cannot be read."""
    found = {}
    with suppress(K8scrError), closing(OciLayoutSource(TarFiles(location.path))) as source:
        for image in source.entries:
            with suppress(K8scrError):
                found[(*entry_names(image), image.digest)[0]] = read_verified(source, image)
    return found


def read_verified(source: ImageSource, root: Descriptor) -> dict[str, bytes]:
    """Return the manifests and blobs of an image by digest, verified against their descriptors."""
    contents = read_image(source, root)
    for manifest in walk_manifests(source, root):
        for part in (manifest.descriptor, *manifest.blobs):
            content = memoryview(contents[part.digest])
            list(verified([content], part.digest, part.size, "the part"))
    return contents


@pytest.fixture
def tokens() -> Iterator[HostileTokenServer]:
    """A token server with arbitrary responses."""
    with HostileTokenServer().running() as running:
        assert isinstance(running, HostileTokenServer)
        yield running


class HostileTokenServer(TokenServer):
    """A token server.

    Attributes:
        text: The response in place of a token.
    """

    text = b""

    def respond(self, request: ReceivedRequest) -> Response:
        """See :meth:`TokenServer.respond`."""
        return Response(200, {}, self.text)


def reset(server: RegistryServer, *responses: HostileResponse) -> None:
    """Empty the registry, and set its hostile responses."""
    server.manifests.clear()
    server.blobs.clear()
    server.uploads.clear()
    server.faults[:] = [Fault(response.method, response.path, response.apply, response.times) for response in responses]


def require_lines(result: dict[str, Any], valid: bool) -> None:
    """Require that each error is one line, and that valid content causes no error."""
    assert not (valid and result.get("failed")), result.get("msg")
    for image in result["images"]:
        require_one_line(image.get("error", ""))


@fuzzed
@given(transport=st.sampled_from([*ARCHIVES, ""]), archive=hostile_archives())
@example(transport="oci-archive", archive=VALID_ARCHIVE)
@example(transport="docker-archive", archive=VALID_ARCHIVE)
@example(transport="", archive=HostileArchive(gzip.compress(VALID_ARCHIVE.content)))
@example(transport="", archive=HostileArchive(lzma.compress(VALID_ARCHIVE.content)))
def test_random_archive_is_read_or_rejected(path: Path, transport: str, archive: HostileArchive) -> None:
    path.write_bytes(archive.content)

    with bounds(archive.valid):
        read_location(Location(transport, path), archive.valid)


@fuzzed
@given(transport=st.sampled_from(ARCHIVES), hostile=hostile_images())
@example(transport="oci-archive", hostile=VALID_IMAGE)
@example(transport="docker-archive", hostile=VALID_IMAGE)
def test_random_image_in_a_valid_archive_is_read_or_rejected(path: Path, transport: str, hostile: Hostile) -> None:
    path.write_bytes(tar(*hostile.files.items()))

    with bounds(hostile.valid):
        read_location(Location(transport, path), hostile.valid)


@fuzzed
@given(transport=st.sampled_from(ARCHIVES), archive=hostile_archives())
@example(transport="oci-archive", archive=VALID_ARCHIVE)
@example(transport="docker-archive", archive=VALID_ARCHIVE)
def test_archive_is_rejected_unchanged_or_has_all_images_after_write(
    path: Path, transport: str, archive: HostileArchive
) -> None:
    path.write_bytes(archive.content)
    location, image = Location(transport, path), make_image()
    before = read_images(location)

    with bounds(archive.valid and not archive.compressed):
        try:
            with closing(open_destination(location)) as destination:
                put(destination, image, "example.com/app:2")
                destination.commit()
        except K8scrError:
            assert path.read_bytes() == archive.content
            raise
        assert read_images(location) == {**before, "example.com/app:2": image.contents}
    assert list(path.parent.iterdir()) == [path]


@fuzzed
@given(
    kind=st.sampled_from(ARCHIVES),
    hostile=hostile_images(),
    options=st.fixed_dictionaries({}, optional={"platforms": st.just(["linux/amd64"]), "referrers": st.just(True)}),
)
@example(kind="oci-archive", hostile=VALID_IMAGE, options={"platforms": ["linux/amd64"], "referrers": True})
@example(kind="docker-archive", hostile=VALID_IMAGE, options={})
def test_push_of_random_images_fails_with_one_line_each(
    push: Run, server: RegistryServer, path: Path, kind: str, hostile: Hostile, options: dict[str, Any]
) -> None:
    reset(server)
    path.write_bytes(tar(*hostile.files.items()))

    # A Docker archive cannot store referrers.
    valid = hostile.valid and not (kind == "docker-archive" and "referrers" in options)
    with bounds(valid):
        result = push({"source": f"{kind}:{path}:example.com/app:1", **options})
        require_lines(result, valid)


@fuzzed
@given(
    kind=st.sampled_from(["oci", *ARCHIVES]),
    hostile=hostile_images(),
    responses=st.lists(hostile_responses("HEAD", "GET"), max_size=2),
)
@example(kind="oci", hostile=VALID_IMAGE, responses=[])
@example(kind="oci-archive", hostile=VALID_IMAGE, responses=[])
@example(kind="docker-archive", hostile=VALID_IMAGE, responses=[])
def test_pull_from_hostile_registry_returns_the_requested_content_or_fails(
    pull: Run, server: RegistryServer, path: Path, kind: str, hostile: Hostile, responses: list[HostileResponse]
) -> None:
    reset(server, *responses)
    root = digest_of(hostile.root)
    server.blobs["library/app"] = dict(hostile.contents)
    server.manifests["library/app"] = {
        digest: (OCI_INDEX if b'"manifests":' in content else OCI_MANIFEST, content)
        for digest, content in hostile.contents.items()
    }
    for reference in ("1", root):
        server.manifests["library/app"][reference] = (OCI_INDEX, hostile.root)

    # A Docker archive stores one platform.
    platforms = {"platforms": ["linux/amd64"]} if kind == "docker-archive" else {}
    valid = hostile.valid and not responses
    with bounds(valid):
        result = pull({"name": "library/app:1", "dest": f"{kind}:{path}:app", **platforms})
        require_lines(result, valid)
        if result.get("failed"):
            assert not (path / "index.json" if kind == "oci" else path).exists()
        else:
            read_location(Location(kind, path), valid)
    remove(path)


@fuzzed
@given(responses=st.lists(hostile_responses("HEAD", "GET", "POST", "PATCH", "PUT"), min_size=1, max_size=2))
@example(responses=[])
def test_push_to_hostile_registry_fails_with_one_line(
    push: Run, server: RegistryServer, path: Path, responses: list[HostileResponse]
) -> None:
    reset(server, *responses)
    write_layout(path, {"app:1": make_image()})

    with bounds(not responses):
        require_lines(push({"source": f"oci:{path}", "referrers": True}), not responses)


@fuzzed
@given(
    responses=st.lists(hostile_responses("HEAD", "GET"), max_size=2),
    challenge=st.sampled_from([*HEADERS["WWW-Authenticate"], *[None] * 10]),
    token_response=documents(TOKEN),
)
@example(responses=[], challenge=None, token_response=as_document(TOKEN))
def test_hostile_upstream_registry_is_read_or_rejected(
    push: Run,
    server: RegistryServer,
    tokens: HostileTokenServer,
    responses: list[HostileResponse],
    challenge: str | None,
    token_response: bytes,
) -> None:
    reset(server, *responses)
    server.fill("up/app", "1", make_image())
    tokens.text = token_response
    denied = Response(401, {"WWW-Authenticate": challenge or f'Bearer realm="{tokens.url}"'})
    server.guard = lambda path, headers: (
        denied if "/up/app/" in path and headers.get("Authorization") != "Bearer abc" else None
    )
    host = server.url.removeprefix("http://")
    upstream = {"host": host, "plain_http": True, "username": "user", "password": "the secret"}

    valid = not responses and challenge is None and token_response == as_document(TOKEN)
    with bounds(valid):
        result = push({"source": f"docker://{host}/up/app:1", "name": "app:1"}, upstreams=[upstream])
        require_lines(result, valid)

    assert "the secret" not in str(result)


@fuzzed
@given(responses=st.lists(hostile_responses("GET"), max_size=1), document=documents(REFERRERS))
@example(responses=[], document=as_document(REFERRERS))
def test_hostile_list_of_referrers_is_read_or_rejected(
    registry: Registry, server: RegistryServer, responses: list[HostileResponse], document: bytes
) -> None:
    reset(server)
    image = make_image()
    server.fill("app", "1", image)
    headers = {"Content-Type": OCI_INDEX}
    listing = HostileResponse("GET", "/referrers/", 200, headers, document, 1_000_000)
    server.faults[:] = [
        Fault(response.method, response.path, response.apply, response.times) for response in (*responses, listing)
    ]
    repository = Repository(registry, "app")

    with bounds(not responses and document == as_document(REFERRERS)):
        attached_to(repository, image.root)
