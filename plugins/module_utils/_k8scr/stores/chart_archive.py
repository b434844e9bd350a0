# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives of Helm charts as a source: an OCI artifact as ``helm push`` makes it (``chart:FILE.tgz``).

The layer is the unchanged file. The manifest has no time of creation, so that the same chart has the same digest.
Nothing is extracted: only the metadata is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..errors import InputError, MissingManifestError, SourceError
from ..files.decompression import GZIP_MAGIC
from ..files.file_access import closed_on_failure, file_blocks, is_file, is_folder, read_errors, read_file, read_small
from ..files.file_pool import UnchangedFile
from ..files.tar_reader import TarFiles
from ..files.yaml_text import read_documents
from ..oci.content import BLOCK_SIZE, Blocks
from ..oci.descriptor import Descriptor
from ..oci.digest import digest_of, digest_of_blocks
from ..oci.interfaces import Referrers, SourceImage
from ..oci.manifest import OCI_MANIFEST, Manifest, parse_manifest
from ..oci.reference import Reference, parse_reference
from .chart_metadata import ChartMetadata, go_json

_CONFIG = "application/vnd.cncf.helm.config.v1+json"
_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_PROVENANCE = "application/vnd.cncf.helm.chart.provenance.v1.prov"
_REPOSITORY = "localhost/charts"
_MAXIMUM_FILE = 1 << 20
"""Bytes of ``Chart.yaml`` and of a provenance file."""
_MAXIMUM_CHART = 100 << 20
"""Bytes of all files of a chart; Helm does not install larger ones."""


class ChartArchiveSource:
    """The archive of a chart, and its provenance file (``FILE.tgz.prov``) if there is one.

    Raises:
        SourceError: The archive cannot be read, or is not a chart.
    """

    referrers: Referrers | None = None

    def __init__(self, path: Path) -> None:
        self.description = f"the chart {path}"
        if is_folder(path):
            raise SourceError(f"{path} is a folder, not the archive of a chart", f"Run helm package {path} first")
        self._opened = UnchangedFile(path, self.description)
        self._layer = self._read_layer()
        metadata = _read_metadata(path, self.description)
        self._small = {digest_of(metadata.config): metadata.config}
        layers = [self._layer]
        provenance = path.with_name(f"{path.name}.prov")
        if is_file(provenance):
            layers.append(self._add(_PROVENANCE, _read_provenance(provenance)))
        self._manifest = self._make_manifest(metadata, layers)
        self._name = _name(metadata)

    def images(self, name: str | None = None) -> list[SourceImage]:
        """Return the artifact.

        Raises:
            SourceError: A name is given; a chart archive has none.
        """
        if name is not None:
            raise SourceError(f"{self.description} has no image {name!r:.100}", "Write the path of the archive alone")
        given, error = self._name
        return [SourceImage(self._manifest.descriptor, given, name_error=error)]

    def fetch_manifest(self, descriptor: Descriptor) -> Manifest:
        if descriptor.digest != self._manifest.descriptor.digest:
            raise MissingManifestError(f"{self.description} has no manifest {descriptor.digest}")
        return self._manifest

    def has_blob(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self._small or descriptor.digest == self._layer.digest

    @contextmanager
    def open_blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[Blocks]:
        if descriptor.digest in self._small:
            content = memoryview(self._small[descriptor.digest])
            yield (content[start : start + BLOCK_SIZE] for start in range(offset, len(content), BLOCK_SIZE))
            return
        if descriptor.digest != self._layer.digest:
            raise SourceError(f"{self.description} has no blob {descriptor.digest}")
        file = self._opened()
        try:
            yield file_blocks(file, offset, self._layer.size - offset, self.description)
        finally:
            os.close(file)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _read_layer(self) -> Descriptor:
        file = self._opened()
        try:
            size = os.fstat(file).st_size
            if size > _MAXIMUM_CHART:
                raise SourceError(f"{self.description} has {size} bytes; the limit of Helm is {_MAXIMUM_CHART}")
            with read_errors(self.description):
                is_gzip = os.pread(file, len(GZIP_MAGIC), 0) == GZIP_MAGIC
            if not is_gzip:
                raise SourceError(f"{self.description} is not compressed with gzip", "Create it with helm package")
            return Descriptor(_CONTENT, digest_of_blocks(file_blocks(file, 0, size, self.description)), size)
        finally:
            os.close(file)

    def _add(self, media_type: str, content: bytes) -> Descriptor:
        descriptor = Descriptor(media_type, digest_of(content), len(content))
        self._small[descriptor.digest] = content
        return descriptor

    def _make_manifest(self, metadata: ChartMetadata, layers: list[Descriptor]) -> Manifest:
        annotations = metadata.annotations
        content = go_json(
            {
                "schemaVersion": 2,
                "config": self._add(_CONFIG, metadata.config).to_json(),
                "layers": [layer.to_json() for layer in sorted(layers, key=lambda layer: layer.digest)],
                **({"annotations": {key: annotations[key] for key in sorted(annotations)}} if annotations else {}),
            }
        )
        return parse_manifest(content, OCI_MANIFEST)


def _read_metadata(path: Path, description: str) -> ChartMetadata:
    files = TarFiles(path, description)
    with closed_on_failure(files), closing(files):
        size = sum(size for _start, size in files.entries.values())
        if size > _MAXIMUM_CHART:
            raise SourceError(f"the files of {description} have {size} bytes; the limit of Helm is {_MAXIMUM_CHART}")
        charts = [name for name in files.entries if name.count("/") == 1 and name.endswith("/Chart.yaml")]
        if len(charts) != 1:
            found = "several files" if charts else "no file"
            raise SourceError(f"{description} has {found} NAME/Chart.yaml", "Create it with helm package")
        folder = charts[0].partition("/")[0]
        try:
            chart, requirements = (
                _read_yaml(files, f"{folder}/{file}", description) for file in ("Chart.yaml", "requirements.yaml")
            )
            return ChartMetadata(chart, requirements)
        except InputError as error:
            raise SourceError(f"{description} cannot be used: {error.message}", error.advice) from error


def _read_yaml(files: TarFiles, name: str, description: str) -> object:
    """Return the first document of a file; ``None`` if the file does not exist or is empty."""
    if files.size(name) is None:
        return None
    documents = read_documents(read_file(files, name, _MAXIMUM_FILE), f"{name} of {description}")
    return documents[0].value if documents else None


def _read_provenance(path: Path) -> bytes:
    with read_errors(path):
        content = read_small(path, _MAXIMUM_FILE)
    if len(content) > _MAXIMUM_FILE:
        raise SourceError(f"the provenance file {path} has more than {_MAXIMUM_FILE} bytes")
    return content


def _name(metadata: ChartMetadata) -> tuple[Reference | None, InputError | None]:
    """Return the default name of a chart, or the reason why it has none. A tag cannot contain ``+``."""
    try:
        return parse_reference(f"{_REPOSITORY}/{metadata.name}:{metadata.version.replace('+', '_')}"), None
    except InputError as error:
        return None, error.replace(advice="Set its name with the option name")
