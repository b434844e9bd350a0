# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the images in files and folders: manifests, compose files, kustomizations and charts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files.file_access import is_file, is_folder, read_small
from ..files.vault import reject_vault
from .charts import Chart, ChartReader
from .collection import Discovery, Origin
from .custom_resources import ResourcePaths
from .manifests import MAXIMUM_SIZE, find_in_text
from .programs import ProgramRun, find_program, run_program

_KUSTOMIZE = "kustomize:"
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_CHART = "Chart.yaml"
_SUFFIXES = (".yaml", ".yml", ".json")
_ARCHIVES = (".tgz", ".tar.gz")
_READ = (*_SUFFIXES, *_ARCHIVES)
_MOST_FILES = 20_000
_COMPONENT = re.compile(rb"^kind: *[\"']?Component\b", re.MULTILINE)


@dataclass(frozen=True)
class FileReader:
    """Reads the entries of the option ``src``.

    Attributes:
        kubectl: The path of the program; None for the one in PATH.
    """

    discovery: Discovery
    paths: ResourcePaths
    charts: ChartReader
    kubectl: str | None
    timeout: int

    def read(self, src: str) -> None:
        """Add the images of a file, a folder or a kustomization. Content that cannot be read is a problem.

        Args:
            src: A path, or ``kustomize:`` followed by the path of a folder.
        """
        try:
            if src.startswith(_KUSTOMIZE):
                self._kustomize(src[len(_KUSTOMIZE) :])
            elif is_folder(src):
                self._read_folder(src)
            elif Path(src).name in _KUSTOMIZATIONS:
                self._kustomize(str(Path(src).parent))
            elif src.endswith(_ARCHIVES) or src.startswith("oci://"):
                raise InputError(f"{src} is not a manifest", "Add a chart to charts")
            else:
                self._read_file(src)
        except InputError as error:
            self.discovery.add_problem(error)

    def _read_folder(self, folder: str) -> None:
        count = 0
        for part in _parts_of(folder, self._skip_link):
            count += 1
            if count > _MOST_FILES:
                raise InputError(f"{folder} has more than {_MOST_FILES} files", "Name the folders with manifests")
            try:
                self._read_part(part)
            except InputError as error:
                self.discovery.add_problem(error)
        if not count:
            raise InputError(f"{folder} has no manifest", f"Files with manifests end in {', '.join(_SUFFIXES)}")

    def _skip_link(self, link: str) -> None:
        self.discovery.skip(Origin(file=link), "it is a link to a folder; add the folder to src")

    def _read_part(self, part: str) -> None:
        name = Path(part).name
        if name == _CHART:
            self.charts.read(Chart(str(Path(part).parent)))
        elif name in _KUSTOMIZATIONS:
            self._kustomize(str(Path(part).parent))
        elif name.endswith(_ARCHIVES):
            self.discovery.skip(Origin(file=part), "it is an archive; add a chart to charts")
        else:
            self._read_file(part)

    def _read_file(self, path: str) -> None:
        content = _content_of(path)
        find_in_text(content, Origin(file=path), self.discovery, self.paths)

    def _kustomize(self, folder: str) -> None:
        name = next((name for name in _KUSTOMIZATIONS if is_file(os.path.join(folder, name))), None)
        if name is None:
            raise InputError(f"{folder} has no kustomization", f"The folder must have the file {_KUSTOMIZATIONS[0]}")
        origin = Origin(file=f"{_KUSTOMIZE}{folder}")
        if _COMPONENT.search(_content_of(os.path.join(folder, name))):
            self.discovery.skip(origin, "it is a component, which is built as a part of kustomizations")
            return
        program = find_program("kubectl", self.kubectl, "kubectl")
        run = ProgramRun(self.timeout, MAXIMUM_SIZE)
        content = run_program([program, "kustomize", "--", folder], f"the kustomization {folder} cannot be built", run)
        if not content.strip():
            self.discovery.skip(origin, "the kustomization has no objects")
        find_in_text(content, origin, self.discovery, self.paths)


def _content_of(path: str) -> bytes:
    try:
        content = read_small(path, MAXIMUM_SIZE)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}", "The file is read on the host that runs the module"
        ) from None
    reject_vault(content, path)
    return content


def _parts_of(folder: str, skip_link: Callable[[str], None]) -> Iterator[str]:
    """Yield the manifests of a folder and its subfolders, and the main files of charts and kustomizations.

    Args:
        skip_link: Is called with each link to a folder.
    """
    built: list[str] = []
    for path, folders, files in os.walk(folder, onerror=_fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        kustomization = next((name for name in _KUSTOMIZATIONS if name in files), None)
        if _CHART in files:
            folders.clear()
            yield os.path.join(path, _CHART)
        elif kustomization:
            built.append(os.path.join(path, ""))
            yield os.path.join(path, kustomization)
        elif not path.startswith(tuple(built)):
            for each in (Path(path, name) for name in folders):
                # os.walk does not follow links, which may lead to a loop.
                if each.is_symlink():
                    skip_link(str(each))
            # The other files of a kustomization are its sources.
            yield from (os.path.join(path, name) for name in sorted(files) if name.endswith(_READ))


def _fail(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read: {error.strerror}")
