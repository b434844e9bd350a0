# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``k8scr_find_images``: find the images of charts, manifests and the workloads of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.warnings import warn

from ..discovery.charts import Chart, ChartReader
from ..discovery.collection import Discovery, How, Image, Origin
from ..discovery.custom_resources import ResourcePaths
from ..discovery.files_and_folders import FileReader
from ..errors import InputError, failure_lines
from ..http.retry import Retries
from ..objects.workloads import Unseen, find_image_uses
from ..oci.reference import Reference
from ..redaction import HIDDEN, passwords_in, without_passwords
from ..transfer.lock import read_lock
from ..transport.cluster import connect
from ..transport.settings import ClusterSettings
from .cluster_module import ClusterModule
from .cluster_options import cluster_settings
from .numbers import read_number

CHART_SPEC: dict[str, Any] = {
    "chart": {"type": "str", "required": True},
    "version": {"type": "str"},
    "values": {"type": "dict", "default": {}},
    "values_files": {"type": "list", "elements": "path", "default": []},
    "kube_version": {"type": "str"},
    "api_versions": {"type": "list", "elements": "str", "default": []},
    "release": {"type": "str", "default": "release-name"},
    "namespace": {"type": "str"},
    "plain_http": {"type": "bool", "default": False},
}
FIND_IMAGES_ARGUMENT_SPEC: dict[str, Any] = {
    "charts": {"type": "list", "elements": "raw", "default": [], "options": CHART_SPEC},
    "src": {"type": "list", "elements": "str", "default": []},
    "cluster": {"type": "bool", "default": False},
    "extra_paths": {"type": "dict", "default": {}},
    "lock": {"type": "path"},
    "on_problem": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
    "helm": {"type": "path"},
    "kubectl": {"type": "path"},
    "timeout": {"type": "int", "default": 60},
}
FIND_IMAGES_EMPTY_RESULT: Mapping[str, Any] = {
    name: [] for name in ("images", "sources", "guesses", "left_out", "unseen", "new", "removed")
}
_LIBRARIES = ("requests", "kubernetes")


@dataclass(frozen=True)
class FindSettings:
    """The options of ``k8scr_find_images``.

    Attributes:
        cluster: The cluster whose workloads are searched; None for none.
        locked: The names in the lock file; None without one.
    """

    charts: tuple[Chart, ...]
    src: tuple[str, ...]
    cluster: ClusterSettings | None
    paths: ResourcePaths
    locked: frozenset[str] | None
    lock: str
    only_warn: bool
    helm: str | None
    kubectl: str | None
    timeout: int

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> FindSettings:
        """Read the module's parameters, and the lock file.

        Raises:
            InputError: An option is invalid, or the lock file cannot be read.
        """
        if not (options["charts"] or options["src"] or options["cluster"]):
            raise InputError("there is nothing to search", "Set charts, src or cluster")
        if any(passwords_in(options["src"])):
            raise InputError("src has a URL with credentials", "Write paths of files and folders")
        names = [name for name, _digest in read_lock(Path(options["lock"]))] if options["lock"] else []
        return cls(
            tuple(read_charts(options["charts"])),
            tuple(options["src"]),
            cluster_settings(options) if options["cluster"] else None,
            ResourcePaths(options["extra_paths"]),
            frozenset(map(_lock_name, names)) if options["lock"] else None,
            str(options["lock"] or ""),
            options["on_problem"] == "warn",
            options["helm"],
            options["kubectl"],
            read_number(options, "timeout"),
        )


def read_charts(entries: Sequence[Any]) -> Iterator[Chart]:
    """Yield the charts in the option ``charts``: locations, or dictionaries with a location and options.

    Raises:
        InputError: An entry is invalid.
    """
    for number, entry in enumerate(entries, 1):
        given = {"chart": entry} if isinstance(entry, str) else entry
        if not isinstance(given, Mapping) or _is_written_dictionary(entry):
            raise InputError(
                f"entry {number} of charts is neither a location nor a dictionary",
                f"Write the location of a chart, or a dictionary with {', '.join(CHART_SPEC)}",
            )
        unknown = [str(key) for key in given if key not in CHART_SPEC]
        if unknown:
            raise InputError(
                f"entry {number} of charts: unknown keys: {', '.join(unknown)}; known keys: {', '.join(CHART_SPEC)}"
            )
        # Numbers such as 1.36 are read from YAML; the validator accepts them as texts.
        validated = ArgumentSpecValidator(CHART_SPEC).validate(dict(given))
        if validated.error_messages:
            raise InputError(f"entry {number} of charts: {'; '.join(validated.error_messages)}")
        found: Mapping[str, Any] = validated.validated_parameters
        if not found["chart"] or found["chart"].startswith("-"):
            raise InputError(
                f"entry {number} of charts has the invalid chart {found['chart']!r:.100}",
                "Write the path of a folder or an archive, or oci://REGISTRY/REPOSITORY",
            )
        if any(passwords_in(found["chart"])):
            raise InputError(f"entry {number} of charts has credentials", "Log in with helm registry login")
        yield Chart(
            found["chart"],
            found["version"],
            found["values"],
            tuple(found["values_files"]),
            found["kube_version"],
            tuple(found["api_versions"]),
            found["release"],
            found["namespace"],
            found["plain_http"],
        )


def run_find_images(options: Mapping[str, Any]) -> dict[str, Any]:
    """Find images and return the module's result.

    Returns:
        Also if content cannot be read, with ``failed`` and ``msg`` then.

    Raises:
        ClusterError: The cluster cannot be used.
        InputError: An option is invalid.
    """
    settings = FindSettings.from_options(options)
    discovery = Discovery()
    charts = ChartReader(discovery, settings.paths, settings.helm, settings.timeout)
    files = FileReader(discovery, settings.paths, charts, settings.kubectl, settings.timeout)
    for chart in settings.charts:
        charts.read(chart)
    for src in settings.src:
        files.read(src)
    unseen = _search_cluster(settings.cluster, discovery) if settings.cluster else ()
    return {**_result(settings, discovery, unseen), **_failure(settings, discovery)}


def _search_cluster(settings: ClusterSettings, discovery: Discovery) -> tuple[Unseen, ...]:
    """Add the images of the workloads in all namespaces, and return the kinds that the user may not list."""
    with connect(settings) as cluster:
        uses, unseen = find_image_uses(cluster.adapter, Retries())
    for use in uses:
        origin = Origin(kind=use.kind, namespace=use.namespace, name=use.name)
        if use.original:
            discovery.add(use.original, origin, How.CLUSTER)
        # Users who create Pods may forge an annotation with an original name. It does not hide the image of the Pod,
        # unless only nodes can pull this image.
        if not use.original or not use.image.startswith(("localhost:", "localhost/")):
            discovery.add(use.image, origin, How.CLUSTER)
    for each in unseen:
        warn(f"The images of {each.kind}s are not found: {each.reason}")
    return unseen


def _result(settings: FindSettings, discovery: Discovery, unseen: Sequence[Unseen]) -> dict[str, Any]:
    found = discovery.found
    return {
        "changed": False,
        "images": [
            {**_entry(image), "source": f"docker://{image.name}", "how": image.how.value if image.how else None}
            for image in found
        ],
        "sources": [f"docker://{image.name}" for image in found],
        "guesses": [_entry(image) for image in discovery.guesses],
        # Ansible takes a result with the key ``skipped`` for a skipped task.
        "left_out": [{**_origin(each.origin), "reason": each.reason} for each in discovery.skipped],
        "unseen": [{"kind": each.kind, "reason": each.reason} for each in unseen],
        **_comparison(settings, found),
    }


def _entry(image: Image) -> dict[str, Any]:
    return {"name": str(image.name), "found_in": [_origin(origin) for origin in image.origins], "count": image.count}


def _origin(origin: Origin) -> dict[str, Any]:
    texts = ("file", "chart", "kind", "namespace", "name", "path")
    return {"document": origin.document or None, **{key: getattr(origin, key) or None for key in texts}}


def _comparison(settings: FindSettings, found: Sequence[Image]) -> dict[str, Any]:
    """Return the differences from the lock file."""
    if settings.locked is None:
        return {"new": [], "removed": []}
    names = {_lock_name(image.name) for image in found}
    return {
        "new": sorted(names - settings.locked),
        "removed": sorted(settings.locked - names),
        "diff": {
            "before": "".join(f"{name}\n" for name in sorted(settings.locked)),
            "after": "".join(f"{name}\n" for name in sorted(names)),
            "before_header": settings.lock,
            "after_header": "found images",
        },
    }


def _lock_name(name: Reference) -> str:
    """Return a name as the lock file has it: without the digest, if it has a tag."""
    return str(replace(name, digest=None) if name.tag else name)


def _failure(settings: FindSettings, discovery: Discovery) -> dict[str, Any]:
    """Return ``failed`` and ``msg`` if there are problems; warn about them instead, if the option says so."""
    more = [f"{discovery.more_problems} more problems"] if discovery.more_problems else []
    if settings.only_warn:
        for text in (*map(str, discovery.problems), *more):
            warn(text)
        return {}
    lines = [*failure_lines(("", problem) for problem in discovery.problems), *more]
    return {"failed": True, "msg": "\n".join(lines)} if lines else {}


def redact_charts(charts: Any) -> Any:
    """Return the option ``charts`` without values, which may be secrets."""
    if not isinstance(charts, list):
        return HIDDEN
    return [_redact_chart(entry) for entry in charts]


def _redact_chart(entry: Any) -> Any:
    if isinstance(entry, Mapping):
        return {
            key: HIDDEN if key == "values" or key not in CHART_SPEC else without_passwords(entry[key]) for key in entry
        }
    return without_passwords(entry) if isinstance(entry, str) and not _is_written_dictionary(entry) else HIDDEN


def _is_written_dictionary(entry: Any) -> bool:
    """Return whether an entry is the text of a dictionary, which may have values of a chart."""
    return isinstance(entry, str) and entry.lstrip().startswith(("{", "["))


def run_find_images_module() -> None:
    """Run the module, and exit. The libraries for clusters are required only to search one."""
    module = ClusterModule(
        FIND_IMAGES_ARGUMENT_SPEC,
        {"charts": redact_charts},
        empty_result=FIND_IMAGES_EMPTY_RESULT,
        supports_check_mode=True,
    )
    for library in _LIBRARIES if module.params["cluster"] else ():
        if find_spec(library) is None:
            module.fail_json(msg=missing_required_lib(library))
    module.run(lambda: run_find_images(module.params))
