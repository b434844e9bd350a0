# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Generated images keep their digests from a layout to a registry, back to a layout and to another registry.

Images that cannot be pushed fail alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.plugins.module_utils.support.images import Image, describe, index_of, make_image
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.tool_layouts import Entry, build_cache, cosign_entries, named, write_entries

Run = Callable[..., dict[str, Any]]
Repositories = dict[str, dict[str, tuple[str, bytes]]]

EMPTY = describe(b"{}", "application/vnd.oci.empty.v1+json", data="e30=")
platforms: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"platform": None}, {"platform": {"os": "linux", "architecture": "amd64"}}, {"platform": {"os": ""}}]
)
nulls = st.dictionaries(st.sampled_from(["annotations", "urls", "platform", "data"]), st.none())
"""Members of a descriptor without a value, as some tools write them."""


@dataclass(frozen=True)
class Graph:
    """A named image of a layout, with its referrers.

    Attributes:
        entries: The entries of the image and of its referrers, the image's first.
    """

    image: Image
    entries: list[Entry] = field(default_factory=list)

    @property
    def digests(self) -> set[str]:
        """The digests of its manifest or index and of its referrers."""
        return {each.digest for each, _members in self.entries}


@st.composite
def manifests(draw: st.DrawFn) -> Image:
    """Generate an image or an artifact."""
    layers = draw(st.lists(st.sampled_from([b"one", b"two", b"three"]), min_size=1, max_size=2))
    image = make_image(*layers, annotations=draw(st.sampled_from([None, {}, {"a": "b"}])))
    kind = draw(st.sampled_from(["image", "no layers", "artifact"]))
    if kind == "no layers":
        return make_image(*layers, layers=draw(st.sampled_from([None, []])))
    if kind == "artifact":
        artifact = make_image(config=EMPTY, artifactType="application/vnd.example", layers=[EMPTY])
        return Image(artifact.root, {**artifact.contents, EMPTY["digest"]: b"{}"})
    return image


@st.composite
def indexes(draw: st.DrawFn, children: st.SearchStrategy[Image]) -> Image:
    """Generate an index of images; with or without platforms, and with null members."""
    images = draw(st.lists(children, max_size=3, unique_by=lambda each: each.digest))
    entries = [{**draw(nulls), **image.root.to_json(), **draw(platforms)} for image in images]
    return index_of(entries or draw(st.sampled_from([None, []])), *images)


@st.composite
def graphs(draw: st.DrawFn, name: str) -> Graph:
    """Generate an image with this name, and referrers without names."""
    image = draw(st.one_of(manifests(), indexes(st.one_of(manifests(), indexes(manifests()))), st.just(build_cache())))
    subjects, entries = [image], [named(image, name, urls=None, platform=None)]
    for number in range(draw(st.integers(0, 2))):
        subject = draw(st.sampled_from(subjects))
        referrer = make_image(b"%d" % number, subject=subject.root.to_json(), annotations={"of": subject.digest})
        subjects.append(referrer)
        entries.append((referrer, {}))
    return Graph(image, entries)


def lacking(image: Image, digest: str) -> Image:
    """Return an image without the content of a digest."""
    return Image(image.root, {each: part for each, part in image.contents.items() if each != digest})


BAD: dict[str, list[Entry]] = {
    "an invalid name": [named(make_image(b"bad"), "example.com/Bad:1.0+up")],
    "no name": [(make_image(b"bad"), {})],
    "a missing layer": [named(lacking(made := make_image(b"bad"), made.layers[0]), "example.com/bad:1")],
    "a missing manifest": [named(lacking(made, made.digest), "example.com/bad:1")],
    "a damaged manifest": [named(Image(made.root, {**made.contents, made.digest: b"{}"}), "example.com/bad:1")],
    "a referrer of a missing image": [(make_image(b"bad", subject=make_image(b"missing").root.to_json()), {})],
    "a signature of an unknown image": cosign_entries(made, sigs=make_image(b"bad signature"))[1:],
    "no config": [named(make_image(b"bad", config=None), "example.com/bad:1")],
    "a blob as its root": [
        named(
            Image(
                make_image(b"bad").root.__class__("application/json", digest_of(b"[]"), 2), {digest_of(b"[]"): b"[]"}
            ),
            "example.com/bad:1",
        )
    ],
}

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def take(server: RegistryServer) -> Repositories:
    """Return the manifests of a registry, and leave the registry empty."""
    found = {name: dict(content) for name, content in server.manifests.items()}
    server.manifests.clear()
    server.blobs.clear()
    return found


@few
@given(data=st.data())
def test_image_and_its_referrers_keep_their_digests(
    push: Run, pull: Run, server: RegistryServer, data: st.DataObject
) -> None:
    take(server)
    server.indexes_of_blobs = True
    graph = data.draw(graphs("example.com/team/app:1"))
    kind = data.draw(st.sampled_from(["oci", "oci-archive"]))
    with tempfile.TemporaryDirectory() as folder:
        source = write_entries(Path(folder) / "source", graph.entries)
        pushed = push({"source": f"oci:{source}", "referrers": True})
        image = {"name": "example.com/team/app:1", "dest": f"{kind}:{folder}/pulled", "referrers": True}
        pulled = pull(image)
        first = take(server)

        again = push({"source": f"{kind}:{folder}/pulled", "referrers": True})

    assert [result.get("msg") for result in (pushed, pulled, again)] == [None, None, None]
    assert graph.digests <= set(first["team/app"])
    assert take(server) == first


@few
@given(data=st.data(), bad=st.sampled_from(sorted(BAD)))
def test_image_that_cannot_be_pushed_fails_alone(
    push: Run, server: RegistryServer, data: st.DataObject, bad: str
) -> None:
    take(server)
    server.indexes_of_blobs = True
    good = [data.draw(graphs(f"example.com/good/{number}:1")) for number in range(data.draw(st.integers(1, 2)))]
    entries = [entry for graph in good for entry in graph.entries]
    position = data.draw(st.integers(0, len(entries)))
    with tempfile.TemporaryDirectory() as folder:
        alone = write_entries(Path(folder) / "alone", entries)
        expected = push({"source": f"oci:{alone}", "referrers": True})
        first = take(server)
        mixed = write_entries(Path(folder) / "mixed", [*entries[:position], *BAD[bad], *entries[position:]])

        result = push({"source": f"oci:{mixed}", "referrers": True})

    failed = [image for image in result["images"] if "error" in image]
    arrived = [{**image, "source": f"oci:{alone}"} for image in result["images"] if "error" not in image]
    assert expected.get("msg") is None
    # Its referrers fail with it, if their image cannot be read.
    assert {image["error"] for image in failed} == {failed[0]["error"]}
    assert arrived == expected["images"]
    assert {name: content for name, content in take(server).items() if content} == first
