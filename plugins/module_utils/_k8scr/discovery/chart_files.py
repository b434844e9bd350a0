# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images in the annotations of a chart and its sub-charts, in a folder or an archive.

Authors of charts list there what no template shows, for example images that an operator starts. Artifact Hub documents
``artifacthub.io/images``; tools for air gaps use ``helm.sh/images`` in the same format.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ..errors import InputError
from ..files.file_access import Files, FolderFiles, is_file, is_folder, read_file
from ..files.tar_reader import TarFiles
from ..files.yaml_text import read_documents
from ..oci.json_object import json_object
from .collection import Origin

_ANNOTATIONS = ("artifacthub.io/images", "helm.sh/images")
_MAIN = re.compile(r"(?:charts/[^/]+/)*Chart\.yaml")
_PACKED = re.compile(r"(?:charts/[^/]+/)*charts/[^/]+\.(?:tgz|tar\.gz)")
_MAXIMUM_CHART_FILE = 1 << 20
_MAXIMUM_ARCHIVE = 64 << 20
_MOST_CHARTS = 500


def annotated_images(path: str, chart: str, scratch: str) -> Iterator[tuple[Origin, str]]:
    """Yield the images in the annotations of a chart and its sub-charts.

    Args:
        path: The folder or the archive.
        chart: The chart as the user wrote it.
        scratch: An empty folder for packed sub-charts.

    Raises:
        InputError: An annotation is not a list of images, or the chart has too many sub-charts.
        SourceError: A file cannot be read.
    """
    pending = [(Path(path), "")]
    for count in range(_MOST_CHARTS):
        if not pending:
            return
        current, prefix = pending.pop()
        is_packed = not is_folder(current)
        with closing(TarFiles(current) if is_packed else FolderFiles(current)) as files:
            names = sorted(files.entries if isinstance(files, TarFiles) else _files_below(current))
            for name in names:
                in_chart = name.partition("/")[2] if is_packed else name
                if _MAIN.fullmatch(in_chart):
                    yield from _images_of(files, name, Origin(file=f"{prefix}{name}", document=1, chart=chart))
                elif _PACKED.fullmatch(in_chart):
                    unpacked = Path(scratch) / f"{count}-{len(pending)}.tgz"
                    unpacked.write_bytes(read_file(files, name, _MAXIMUM_ARCHIVE))
                    pending.append((unpacked, f"{prefix}{Path(name).parent}/"))
    raise InputError(f"the chart {chart} has more than {_MOST_CHARTS} packed sub-charts")


def _files_below(folder: Path) -> Iterator[str]:
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        # Only these files of a chart are read.
        named = [name for name in files if name == "Chart.yaml" or name.endswith((".tgz", ".tar.gz"))]
        for name in named:
            found = os.path.relpath(os.path.join(path, name), folder)
            if is_file(folder / found):
                yield found


def _images_of(files: Files, name: str, origin: Origin) -> Iterator[tuple[Origin, str]]:
    for document in read_documents(read_file(files, name, _MAXIMUM_CHART_FILE), f"{name} of the chart {origin.chart}"):
        annotations = json_object(json_object(document.value).get("annotations"))
        chart = str(json_object(document.value).get("name") or "")
        for key in _ANNOTATIONS:
            text = annotations.get(key)
            if isinstance(text, str):
                for number, image in enumerate(
                    _listed(text, f"the annotation {key} in {origin.file} of {origin.chart}")
                ):
                    path = f"annotations[{key}][{number}].image"
                    yield _origin(origin, chart, path), image


def _origin(origin: Origin, name: str, path: str) -> Origin:
    return Origin(origin.file, origin.document, origin.chart, "Chart", "", name, path)


def _listed(text: str, where: str) -> Iterator[str]:
    """Yield the images in an annotation: a list of objects with the key ``image``, or of names."""
    for document in read_documents(text, where):
        if not isinstance(document.value, list):
            raise InputError(f"{where} is not a list of images")
        for entry in document.value:
            image = entry if isinstance(entry, str) else json_object(entry).get("image")
            if not isinstance(image, str) or not image.strip():
                raise InputError(f"{where} has an entry without an image")
            yield image.strip()
