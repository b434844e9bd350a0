# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of ``k8scr_bundle``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..oci.decimal import parse_decimal
from ..redaction import without_passwords
from ..registry.cluster import RegistrySettings
from ..stores.location import Location, parse_location
from ..transfer.job import ReferrersMode
from .bundle_extras import EXTRAS_ARGUMENT_SPEC, BundleExtras
from .image_entries import SOURCE_ENTRY_SPEC, SourceEntry, read_source_entry
from .numbers import VOLUME_SIZES, read_number, require_bounds
from .progress_options import PROGRESS_ARGUMENT_SPEC
from .source_settings import SOURCES_ARGUMENT_SPEC, SourceSettings

CHART_SPEC: dict[str, Any] = {"chart": {"type": "str", "required": True}, "name": {"type": "str"}}
_ONE_IMAGE_SPEC = {name: option for name, option in SOURCE_ENTRY_SPEC.items() if name != "tags"}
BUNDLE_ARGUMENT_SPEC: dict[str, Any] = {
    **SOURCES_ARGUMENT_SPEC,
    "dest": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "verified"], "default": "present"},
    "images": {**SOURCES_ARGUMENT_SPEC["images"], "required": False, "default": []},
    "charts": {"type": "list", "elements": "raw", "default": [], "options": CHART_SPEC},
    "registry_image": {"type": "raw", "options": _ONE_IMAGE_SPEC},
    "since": {"type": "path"},
    "volumes": {
        "type": "dict",
        "options": {"size": {"type": "bytes", "required": True}, "margin": {"type": "str", "default": "2%"}},
    },
    **EXTRAS_ARGUMENT_SPEC,
    "prune": {"type": "bool", "default": False},
    "connections": {"type": "int", "default": RegistrySettings.connections},
    "timeout": {"type": "int", "default": RegistrySettings.timeout},
    "minimum_rate": {"type": "bytes", "default": RegistrySettings.minimum_rate},
    "retry_timeout": {"type": "int", "default": RegistrySettings.retry_timeout},
    "fail_fast": {"type": "bool", "default": False},
    **PROGRESS_ARGUMENT_SPEC,
}
_MARGIN = re.compile(r"([0-9]{1,2})(?:\.([0-9]))?\s*%?")
_OCI = "oci://"
_CHART_KEYS = frozenset(CHART_SPEC)


@dataclass(frozen=True)
class BundleSettings:
    """The options of ``k8scr_bundle``.

    Attributes:
        sources: The images and the charts.
        registry_image: The image for ``registry.tar``, with all other settings of ``sources``; ``None`` for none.
        since: What the other side has; ``None`` for a complete bundle.
        volume_size: The bytes for the files of one volume; ``None`` for a bundle without volumes.
        limits: The connections, the timeout, the minimum rate and the retry timeout for upstream registries.
    """

    dest: Location
    verify: bool
    sources: SourceSettings
    registry_image: SourceSettings | None
    extras: BundleExtras
    since: Path | None
    volume_size: int | None
    prune: bool
    fail_fast: bool
    limits: tuple[int, int, int, int]

    @property
    def tmp_dest(self) -> str | None:
        """The folder for temporary files; ``None`` for the default."""
        return self.sources.docker.tmp_dest

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> BundleSettings:
        """Read the module's parameters.

        Raises:
            InputError: An option is invalid.
        """
        verify = options["state"] == "verified"
        sources = SourceSettings.from_options(options)
        sources = replace(sources, images=(*sources.images, *_charts(options["charts"])))
        given = options["registry_image"]
        registry_image = replace(sources, images=_registry_image(given)) if given else None
        if not verify and not sources.images and not registry_image and not options["extras"]:
            raise InputError("there is nothing to bundle", "Set images, charts, registry_image or extras")
        limits = (
            read_number(options, "connections"),
            read_number(options, "timeout"),
            read_number(options, "minimum_rate"),
            read_number(options, "retry_timeout"),
        )
        since = Path(options["since"]) if options["since"] else None
        return cls(
            parse_location(options["dest"]),
            verify,
            sources,
            registry_image,
            BundleExtras.from_options(options),
            since,
            _volume_size(options["volumes"]),
            options["prune"],
            options["fail_fast"],
            limits,
        )


def _charts(charts: Sequence[Any]) -> Iterator[SourceEntry]:
    """Yield the entries of charts: in a registry, or in an archive."""
    for number, chart in enumerate(charts):
        entry = {"chart": chart} if isinstance(chart, str) else chart
        is_valid = isinstance(entry, Mapping) and isinstance(entry.get("chart"), str) and entry["chart"].strip()
        if not is_valid or not _CHART_KEYS.issuperset(entry):
            raise InputError(
                f"charts[{number}] ({without_passwords(chart)!r:.100}) cannot be used",
                f"Write {_OCI}REGISTRY/REPOSITORY:VERSION, the path of a chart's archive, or a dictionary with chart"
                " and name",
            )
        source, name = entry["chart"], entry.get("name")
        if source.startswith(_OCI):
            # Registries do not allow + in tags; Helm replaces it.
            source = f"docker://{source[len(_OCI) :].replace('+', '_')}"
        elif "://" in source:
            # The URL may have a password.
            raise InputError(
                f"charts[{number}] is a URL without {_OCI}", "Run helm pull first, and write the path of the archive"
            )
        else:
            source = f"chart:{source}"
        yield read_source_entry({"source": source, "name": name}, f"charts[{number}]")


def _registry_image(given: Any) -> tuple[SourceEntry, ...]:
    entry = read_source_entry(given, "registry_image")
    if entry.tags:
        raise InputError("registry_image has tags, but it is one image", "Write the tag in its source")
    if entry.referrers is ReferrersMode.AUTO:
        # Container runtimes import everything in an archive, and cannot unpack signatures.
        entry = replace(entry, referrers=ReferrersMode.NEVER)
    return (entry,)


def _volume_size(volumes: Mapping[str, Any] | None) -> int | None:
    if volumes is None:
        return None
    size = require_bounds(volumes["size"], "volumes.size", VOLUME_SIZES)
    match = _MARGIN.fullmatch(volumes["margin"])
    if match is None:
        raise InputError(f"volumes.margin is {volumes['margin']!r:.80}", "Write a percentage from 0% to 99.9%")
    thousandths = (parse_decimal(match[1]) or 0) * 10 + (parse_decimal(match[2] or "") or 0)
    return size - -(-size * thousandths // 1000)
