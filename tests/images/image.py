# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image in the cache: its files, its tags, and the digests and platforms of the tags."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .layout import REFERENCE, Layout

# The forms of an image, named as in references, and the file or folder of each.
FILES = {"oci": "layout", "oci-archive": "oci-archive.tar", "docker-archive": "docker-archive.tar"}


@dataclass(frozen=True)
class Tag:
    """One name of an image, with its digests and platforms."""

    name: str
    digest: str | None
    """The digest of the manifest or index; None if the only form is a Docker archive, which has no manifest."""
    media_type: str | None
    config_digest: str | None
    """The image ID; None for an index, which has an ID for each platform."""
    platforms: list[str]


@dataclass(frozen=True)
class Image:
    """An image in the cache, in one or more forms with the same content."""

    name: str
    folder: Path
    tags: list[Tag]
    sizes: dict[str, int]
    """The existing forms, and their sizes on disk in bytes."""

    def path(self, transport: str) -> Path:
        """Return the folder or file of this form."""
        if transport not in self.sizes:
            raise KeyError(f"{self.name} has no form {transport}, only {', '.join(self.sizes)}")
        return self.folder / FILES[transport]

    def reference(self, transport: str, tag: str | None = None) -> str:
        """Return the reference for users: `oci:/…/layout:docker.io/library/busybox:1.36`."""
        return f"{transport}:{self.path(transport)}:{tag or self.tag}"

    @property
    def layout(self) -> Path:
        """The OCI layout folder."""
        return self.path("oci")

    @property
    def oci_archive(self) -> Path:
        """The OCI layout as one tar file."""
        return self.path("oci-archive")

    @property
    def docker_archive(self) -> Path:
        """The archive in the format of `docker save`."""
        return self.path("docker-archive")

    @property
    def tag(self) -> str:
        """The first name."""
        return self.tags[0].name

    @property
    def digest(self) -> str:
        """The digest of the first name's manifest or index."""
        if self.tags[0].digest is None:
            raise KeyError(f"{self.name} has no manifest digest: its only form is {', '.join(self.sizes)}")
        return self.tags[0].digest

    @property
    def config_digest(self) -> str:
        """The image ID of the first name."""
        if self.tags[0].config_digest is None:
            raise KeyError(f"{self.name} is an index, which has a config for each platform")
        return self.tags[0].config_digest

    @property
    def platforms(self) -> list[str]:
        """The platforms of the first name, such as `linux/amd64`."""
        return self.tags[0].platforms

    def as_dict(self) -> dict[str, Any]:
        """Return the image as a dictionary for JSON."""
        return {
            "folder": str(self.folder),
            "tags": [asdict(tag) for tag in self.tags],
            "forms": {
                form: {"path": str(self.path(form)), "references": self._references(form), "size": size}
                for form, size in self.sizes.items()
            },
        }

    def _references(self, form: str) -> list[str]:
        return [self.reference(form, tag.name) for tag in self.tags]

    def save(self) -> None:
        """Save the tags and sizes, so that `load` need not read the image's files."""
        metadata = {"tags": [asdict(tag) for tag in self.tags], "sizes": self.sizes}
        (self.folder / "image.json").write_text(json.dumps(metadata, indent=2) + "\n")

    @classmethod
    def load(cls, name: str, folder: Path) -> Image:
        """Return the saved image of a folder."""
        metadata = json.loads((folder / "image.json").read_text())
        return cls(name, folder, [Tag(**tag) for tag in metadata["tags"]], metadata["sizes"])

    @classmethod
    def examine(cls, name: str, folder: Path) -> Image:
        """Return the image that a recipe has written to a folder."""
        forms = {form: folder / file for form, file in FILES.items() if (folder / file).exists()}
        tags = _layout_tags(Layout(forms["oci"])) if "oci" in forms else _archive_tags(forms["docker-archive"])
        return cls(name, folder, tags, {form: _size(path) for form, path in forms.items()})


def _layout_tags(layout: Layout) -> list[Tag]:
    tags = []
    for descriptor in layout.tagged:
        manifest = layout.read(descriptor["digest"])
        config = manifest.get("config", {}).get("digest")
        images = [layout.read(image["digest"]) for image in manifest.get("manifests", [])] or [manifest]
        tags.append(
            Tag(
                descriptor["annotations"][REFERENCE],
                descriptor["digest"],
                descriptor["mediaType"],
                config,
                [platform for image in images for platform in _platform(layout.read(image["config"]["digest"]))],
            )
        )
    return tags


def _archive_tags(archive: Path) -> list[Tag]:
    tags = []
    with tarfile.open(archive) as tar:
        for entry in json.loads(_member(tar, "manifest.json")):
            content = _member(tar, entry["Config"])
            digest = "sha256:" + hashlib.sha256(content).hexdigest()
            tags += [Tag(name, None, None, digest, _platform(json.loads(content))) for name in entry["RepoTags"]]
    return tags


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    return stream.read() if stream else b""


def _platform(config: dict[str, Any]) -> list[str]:
    parts = [config[key] for key in ("os", "architecture", "variant") if key in config]
    return ["/".join(parts)] if parts else []


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
