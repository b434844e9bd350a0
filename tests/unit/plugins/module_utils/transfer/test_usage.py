# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which images of a registry are used: names, digests, referrers, missing and unused images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import RegistryError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.workloads import ImageUse, Unseen
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_MANIFEST
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.inventory import (
    Inventory,
    StoredImage,
    StoredManifest,
    StoredReferrer,
    Unreadable,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transfer.usage import (
    match_usage,
    with_used_images,
)
from hypothesis import given
from hypothesis import strategies as st
from unit.plugins.module_utils.support.inventories import digest, use, used_tags


def descriptor(text: str) -> Descriptor:
    """Return the descriptor of a manifest or config."""
    return Descriptor(OCI_MANIFEST, digest(text), 7)


def stored(repository: str, *tags: str, root: str = "", children: tuple[str, ...] = ()) -> StoredImage:
    """Return an image whose root, ``repository:tag`` by default, and children are texts, with a config for each."""
    root = root or f"{repository}:{tags[0]}"
    manifests = [StoredManifest(descriptor(text), None, (descriptor(f"config of {text}"),)) for text in children]
    own = () if children else (descriptor(f"config of {root}"),)
    return StoredImage(repository, descriptor(root), tags, (StoredManifest(descriptor(root), None, own), *manifests))


def match(image: str, *images: StoredImage, running: str | None = None) -> set[str]:
    """Return the names of the images that a workload with one image uses."""
    inventory = Inventory(images=images)
    return used_tags(match_usage([use(image, running=running)], inventory), inventory)


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("busybox:1", "library/busybox"),
        ("docker.io/busybox:1", "library/busybox"),
        ("index.docker.io/library/busybox:1", "library/busybox"),
        ("team/api:1", "team/api"),
        ("quay.io/team/api:1", "team/api"),
        ("quay.io/team/api:1", "quay.io/team/api"),
        ("busybox:1", "docker.io/library/busybox"),
        ("localhost:30501/team/api:1", "team/api"),
        ("10.96.0.7:5000/quay.io/team/api:1", "quay.io/team/api"),
        ("registry.example.com:5000/team/api:1", "registry.example.com_5000/team/api"),
        ("[fd00::1]:5000/team/api:1", "team/api"),
        ("my_registry.local:5000/team/api:1", "team/api"),
        ("my_registry.local:5000/team/api:1", "my_registry.local_5000/team/api"),
    ],
)
def test_name_matches_repository_with_and_without_host(name: str, repository: str) -> None:
    assert match(name, stored(repository, "1"), stored("other", "1")) == {f"{repository}:1"}


def test_name_without_tag_matches_latest() -> None:
    assert match("team/api", stored("team/api", "latest"), stored("team/api", "1")) == {"team/api:latest"}


def test_names_of_two_hosts_use_same_image() -> None:
    image = stored("team/api", "1")
    users = [use("docker.io/team/api:1", name="a"), use("quay.io/team/api:1", name="b")]

    usage = match_usage(users, Inventory(images=(image,)))

    assert [found.name for found in usage.users_of(image)] == ["a", "b"]


def test_name_matches_both_repositories() -> None:
    assert match("quay.io/team/api:1", stored("team/api", "1"), stored("quay.io/team/api", "1")) == {
        "team/api:1",
        "quay.io/team/api:1",
    }


def test_use_by_one_tag_is_use_of_image_with_all_its_tags() -> None:
    image = stored("team/api", "1", "1.2")

    assert match_usage([use("team/api:1.2")], Inventory(images=(image,))).unused([image]) == ()


@pytest.mark.parametrize("root", ["index", "amd64"], ids=["index", "child"])
def test_digest_matches_index_and_its_children(root: str) -> None:
    index = stored("team/api", "1", root="index", children=("amd64", "arm64"))

    assert match(f"team/api@{digest(root)}", index, stored("team/api", "2")) == {"team/api:1"}


def test_tag_with_digest_matches_only_digest() -> None:
    old, new = stored("team/api", "old"), stored("team/api", "1")

    assert match(f"team/api:1@{old.root.digest}", old, new) == {"team/api:old"}


def test_digest_of_image_without_tag_matches() -> None:
    image = stored("team/api", root="untagged")

    assert match(f"team/api@{digest('untagged')}", image) == {f"team/api:{digest('untagged')}"}


@pytest.mark.parametrize("running", ["amd64", "index", "config of amd64"])
def test_running_digest_matches_image_whose_tag_was_moved(running: str) -> None:
    old = stored("team/api", "old", root="index", children=("amd64",))

    assert match("team/api:1", old, stored("team/api", "1"), running=digest(running)) == {"team/api:old", "team/api:1"}


def test_running_digest_prefers_repository_of_name() -> None:
    copies = [stored(repository, "old", root="same") for repository in ("team/api", "copies/api")]

    assert match("team/api:1", *copies, running=digest("same")) == {"team/api:old"}


def test_running_digest_of_other_repository_is_use() -> None:
    assert match("mirror.example.com/cache/api:1", stored("api", "1", root="same"), running=digest("same")) == {"api:1"}


def test_missing_image_names_both_repositories() -> None:
    usage = match_usage([use("quay.io/team/api:1")], Inventory(images=(stored("team/api", "2"),)))

    (missing,) = usage.missing
    assert missing.image == "quay.io/team/api:1"
    assert missing.reason == "the registry does not have team/api:1 or quay.io/team/api:1"
    assert missing.references == (("team/api", "1"), ("quay.io/team/api", "1"))
    assert [found.name for found in missing.uses] == ["app"]


def test_uses_are_known_by_names_of_missing_and_existing_images() -> None:
    uses = (use("quay.io/team/api:1"),)

    for images in ((), (stored("team/api", "1"),)):
        usage = match_usage(uses, Inventory(images=images))
        assert usage.named == {("team/api", "1"): uses, ("quay.io/team/api", "1"): uses}


def test_missing_digest_is_named_with_digest() -> None:
    usage = match_usage([use(f"team/api:1@{digest('gone')}")], Inventory(images=(stored("team/api", "1"),)))

    assert f"team/api@{digest('gone')}" in usage.missing[0].reason


def test_running_image_with_missing_tag_is_used_and_missing() -> None:
    image = stored("team/api", "old")
    usage = match_usage([use("team/api:1", running=image.root.digest)], Inventory(images=(image,)))

    assert usage.users_of(image)
    assert [missing.image for missing in usage.missing] == ["team/api:1"]


def test_missing_child_of_index_is_missing() -> None:
    index = stored("team/api", "1", root="index", children=("amd64",))

    assert match_usage([use(f"team/api@{digest('arm64')}")], Inventory(images=(index,))).missing


@pytest.mark.parametrize("tag", ["1", None], ids=["tag", "repository"])
def test_unreadable_image_is_missing_with_its_error(tag: str | None) -> None:
    inventory = Inventory(unreadable=(Unreadable("team/api", tag, RegistryError("the registry is damaged")),))

    assert match_usage([use("team/api:1")], inventory).missing[0].reason == "the registry is damaged"


@pytest.mark.parametrize("name", ["Team/API:1", "team/api:", "team/api@sha256:5a", "a b", "-", "web:1\n", "…" * 1000])
def test_invalid_name_is_missing_with_reason(name: str) -> None:
    (missing,) = match_usage([use(name)], Inventory(images=(stored("team/api", "1"),))).missing

    assert missing.image == name
    assert missing.references == ()
    assert "is not a valid image name" in missing.reason or "is not a digest" in missing.reason


def test_running_digest_of_invalid_name_is_use() -> None:
    image = stored("team/api", "1")
    usage = match_usage([use("Team/API:1", running=image.root.digest)], Inventory(images=(image,)))

    assert usage.users_of(image)
    assert [missing.image for missing in usage.missing] == ["Team/API:1"]


def test_unused_images_are_those_without_uses() -> None:
    used, unused = stored("team/api", "1"), stored("team/api", "2")
    inventory = Inventory(images=(used, unused))

    assert match_usage([use("team/api:1")], inventory).unused(inventory.images) == (unused,)


def test_no_image_is_unused_while_kind_is_unseen() -> None:
    inventory = Inventory(images=(stored("team/api", "1"),))

    assert match_usage([], inventory, (Unseen("Job", "forbidden"),)).unused(inventory.images) == ()


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
@pytest.mark.parametrize("subject", ["index", "amd64"])
def test_image_with_tag_of_used_subject_is_used(subject: str, suffix: str) -> None:
    index = stored("team/api", "1", root="index", children=("amd64",))
    tag = digest(subject).replace(":", "-") + suffix
    elsewhere = stored("team/other", tag)

    assert match("team/api:1", index, stored("team/api", tag), elsewhere) == {"team/api:1", f"team/api:{tag}"}


def test_list_of_referrers_of_sha512_subject_is_used() -> None:
    subject = digest_of(b"root", "sha512")
    image = StoredImage("team/api", Descriptor(OCI_MANIFEST, subject, 7), ("1",))
    tag = f"sha512-{subject[7:71]}"

    assert match("team/api:1", image, stored("team/api", tag)) == {"team/api:1", f"team/api:{tag}"}


def test_referrers_of_referrers_are_used() -> None:
    image = stored("team/api", "1")
    sbom_list = stored("team/api", image.root.digest.replace(":", "-"), root="list", children=("sbom",))
    signature_list = stored("team/api", digest("sbom").replace(":", "-"), root="list 2", children=("signature",))

    assert len(match("team/api:1", image, signature_list, sbom_list)) == 3


def test_referrer_without_tag_is_used_with_its_subject() -> None:
    signature = stored("team/api", root="signature")
    subject = stored("team/api", "1")
    referrer = StoredReferrer(subject.root.digest, descriptor("signature"))
    subject = StoredImage("team/api", subject.root, ("1",), subject.manifests, referrers=(referrer,))

    assert len(match("team/api:1", subject, signature)) == 2


def test_referrer_does_not_use_its_subject() -> None:
    image = stored("team/api", "1")
    tag = f"{image.root.digest.replace(':', '-')}.sig"

    assert match(f"team/api:{tag}", image, stored("team/api", tag)) == {f"team/api:{tag}"}


def looked_up(
    inventory: Inventory, users: list[ImageUse], select: Callable[[str], bool] | None = None
) -> set[tuple[str, str]]:
    """Return the repositories and the tags or digests that are looked up, of which the registry has none."""
    references: list[tuple[str, str]] = []

    def read(more: Sequence[tuple[str, str]]) -> Inventory:
        references.extend(more)
        return Inventory()

    assert with_used_images(inventory, users, read, select) == inventory
    return set(references)


def test_digests_and_tags_are_looked_up_in_both_repositories() -> None:
    inventory = Inventory(images=(stored("team/api", "2"),))
    users = [use("quay.io/team/api:1", running=digest("running")), use(f"db:1@{digest('db')}"), use("Not a name")]

    assert looked_up(inventory, users) == {
        ("team/api", "1"),
        ("team/api", digest("running")),
        ("quay.io/team/api", "1"),
        ("quay.io/team/api", digest("running")),
        ("library/db", digest("db")),
        ("docker.io/library/db", digest("db")),
    }


@pytest.mark.parametrize("running", ["index", "amd64", "config of amd64"])
def test_digests_of_inventory_are_not_looked_up(running: str) -> None:
    images = [stored(path, "1", root="index", children=("amd64",)) for path in ("team/api", "quay.io/team/api")]

    assert looked_up(Inventory(images=tuple(images)), [use("quay.io/team/api:1", running=digest(running))]) == set()


def test_unreadable_tag_is_not_looked_up() -> None:
    error = RegistryError("the registry is damaged")
    unreadable = (Unreadable("team/api", "1", error), Unreadable("docker.io/team/api", "1", error))

    assert looked_up(Inventory(unreadable=unreadable), [use("team/api:1")]) == set()


def test_selected_name_is_looked_up_in_both_repositories() -> None:
    users = [use("quay.io/team/api:1"), use("other/api:1")]

    assert looked_up(Inventory(), users, lambda repository: repository == "team/api") == {
        ("team/api", "1"),
        ("quay.io/team/api", "1"),
    }


def test_image_without_tag_is_added_to_inventory_and_used() -> None:
    untagged, other = stored("team/api", root="untagged"), stored("team/api", "1")
    users = [use(f"team/api@{digest('untagged')}")]

    inventory = with_used_images(Inventory(images=(other,)), users, lambda _references: Inventory(images=(untagged,)))

    assert inventory.images == (other, untagged)
    assert match_usage(users, inventory).unused(inventory.images) == (other,)


def test_image_with_further_tag_is_once_in_inventory() -> None:
    first, second = stored("team/api", "1", root="root"), stored("team/api", "2", root="root")
    error = RegistryError("the registry is damaged")
    unreadable = Unreadable("docker.io/team/api", "2", error)
    more = Inventory(images=(second,), unreadable=(unreadable,))

    inventory = with_used_images(Inventory(images=(first,)), [use("team/api:2")], lambda _references: more)

    assert [image.tags for image in inventory.images] == [("1", "2")]
    assert inventory.unreadable == (unreadable,)


REPOSITORIES = st.sampled_from(["team/api", "library/db", "quay.io/team/api"])
TAGS = st.sampled_from(["1", "2", *(f"sha256-{digest(text)[7:]}" for text in "abc")])
IMAGES = st.builds(
    lambda repository, root, tags, children: stored(repository, *sorted(tags), root=root, children=tuple(children)),
    REPOSITORIES, st.sampled_from("abcdef"), st.sets(TAGS, max_size=2), st.lists(st.sampled_from("abcd"), max_size=2),
)  # fmt: skip
NAMES = st.sampled_from(["quay.io/team/api:1", "db:2", f"team/api@{digest('a')}", f"db:1@{digest('b')}", "x/y", "A B"])
USES = st.builds(
    lambda image, running: use(image, running=running and digest(running)),
    NAMES,
    st.sampled_from([None, "a", "c", "config of d"]),
)


@given(
    images=st.lists(IMAGES, max_size=6, unique_by=lambda image: image.key),
    users=st.lists(USES, max_size=4),
    more=USES,
)
def test_each_use_is_of_an_image_or_missing_and_more_uses_never_free_an_image(
    images: list[StoredImage], users: list[ImageUse], more: ImageUse
) -> None:
    inventory = Inventory(images=tuple(images))
    before, after = match_usage(users, inventory), match_usage([*users, more], inventory)

    assert set(before.used) <= set(after.used)
    assert all(set(before.users_of(image)) <= set(after.users_of(image)) for image in images)
    matched = {found for uses in before.used.values() for found in uses}
    assert set(users) == matched | {found for missing in before.missing for found in missing.uses}
