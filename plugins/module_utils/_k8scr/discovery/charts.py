# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the images of Helm charts: in the objects that Helm renders, and in the annotations of the charts."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, K8scrError
from ..files.file_access import exists, read_small
from ..files.vault import reject_vaulted_files
from ..files.yaml_text import read_documents
from ..redaction import texts_of
from .chart_files import annotated_images
from .collection import Discovery, How, Origin
from .custom_resources import ResourcePaths
from .manifests import MAXIMUM_SIZE, find_in_text
from .programs import ProgramRun, find_program, run_program

OCI = "oci://"
_HELM = "Helm 3 or newer"
_ADVICE = {
    "missing in charts": "Run helm dependency build on the chart",
    "incompatible with Kubernetes": "Set kube_version to the version of the cluster",
}
"""The advice for texts in Helm's messages."""


@dataclass(frozen=True)
class Chart:
    """A chart with the options for its rendering.

    Attributes:
        location: A folder, an archive, or ``oci://`` with a registry, a repository and optionally a tag.
        values: Values that override those of the files.
        kube_version: The version of Kubernetes for which the chart is rendered; None for Helm's default.
        api_versions: Further API versions that the cluster serves, such as ``monitoring.coreos.com/v1``.
    """

    location: str
    version: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    values_files: tuple[str, ...] = ()
    kube_version: str | None = None
    api_versions: tuple[str, ...] = ()
    release: str = "release-name"
    namespace: str | None = None
    plain_http: bool = False


@dataclass(frozen=True)
class ChartReader:
    """Reads charts.

    Attributes:
        helm: The path of the program; None for the one in PATH.
        timeout: Seconds for each run of Helm.
    """

    discovery: Discovery
    paths: ResourcePaths
    helm: str | None
    timeout: int

    def read(self, chart: Chart) -> None:
        """Add the images of a chart. A chart that cannot be read or rendered is a problem."""
        try:
            self._read(chart)
        except K8scrError as error:
            self.discovery.add_problem(InputError(error.message, error.advice))

    def _read(self, chart: Chart) -> None:
        if not chart.location.startswith(OCI) and not exists(chart.location):
            raise InputError(
                f"the chart {chart.location} does not exist",
                "Write the path of a folder or an archive on the host that runs the module, or an address with oci://",
            )
        reject_vaulted_files(chart.values_files)
        helm = find_program("helm", self.helm, _HELM)
        run = ProgramRun(self.timeout, MAXIMUM_SIZE, tuple(_secrets_of(chart)))
        with tempfile.TemporaryDirectory(prefix="k8scr-chart-") as scratch:
            path = self._pull(helm, chart, run, scratch) if chart.location.startswith(OCI) else chart.location
            rendered = _render(helm, chart, path, run, scratch)
            find_in_text(rendered, Origin(chart=chart.location), self.discovery, self.paths, How.RENDERED)
            for origin, name in annotated_images(path, chart.location, scratch):
                self.discovery.add(name, origin, How.ANNOTATION)

    def _pull(self, helm: str, chart: Chart, run: ProgramRun, scratch: str) -> str:
        """Download a chart from a registry, with the credentials of ``helm registry login``."""
        folder = Path(scratch) / "pulled"
        folder.mkdir()
        arguments = [helm, "pull", f"--destination={folder}"]
        arguments += [f"--version={chart.version}"] if chart.version else []
        arguments += ["--plain-http"] if chart.plain_http else []
        run_program(
            [*arguments, "--", chart.location], f"the chart {chart.location} cannot be downloaded", run, online=True
        )
        (archive,) = folder.iterdir()
        return str(archive)


def _render(helm: str, chart: Chart, path: str, run: ProgramRun, scratch: str) -> bytes:
    arguments = [helm, "template"]
    arguments += [f"--values={_item(file)}" for file in chart.values_files]
    if chart.values:
        values = os.path.join(scratch, "values.json")
        with open(os.open(values, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(chart.values, file)
        arguments.append(f"--values={_item(values)}")
    arguments += [f"--kube-version={chart.kube_version}"] if chart.kube_version else []
    arguments += [f"--api-versions={_item(version)}" for version in chart.api_versions]
    arguments += [f"--namespace={chart.namespace}"] if chart.namespace else []
    try:
        what = f"the chart {chart.location} cannot be rendered"
        return run_program([*arguments, "--", chart.release, path], what, run)
    except InputError as error:
        advice = next((advice for text, advice in _ADVICE.items() if text in error.message), error.advice)
        raise error.replace(advice=advice) from None


def _item(text: str) -> str:
    """Return one item of an option that Helm reads as a line of CSV."""
    if not any(character in text for character in ',"\n\r'):
        return text
    quoted = text.replace('"', '""')
    return f'"{quoted}"'


def _secrets_of(chart: Chart) -> Iterator[str]:
    """Yield the texts of the values, which Helm may quote in its messages."""
    yield from texts_of(chart.values)
    for path in chart.values_files:
        try:
            documents = read_documents(read_small(path, MAXIMUM_SIZE), path)
        except (K8scrError, OSError):
            continue  # Helm reports it.
        for document in documents:
            yield from texts_of(document.value)
