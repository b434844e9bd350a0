# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The platforms in the configs of images (OCI image specification, "Image Configuration")."""

from __future__ import annotations

from typing import Any

from ..errors import InputError, SourceError
from .descriptor import Descriptor
from .digest import read_verified
from .interfaces import ImageSource
from .manifest import MAXIMUM_CONFIG_SIZE, Manifest, load_json_object
from .platform import Platform

_MAXIMUM_BYTES = 32 << 20
"""Total size of the configs that are read to find the platforms of one image."""


class ConfigPlatforms:
    """Finds the platforms of an index that does not state them, in the configs of its images.

    Args:
        source: The source of the index.
    """

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._bytes = 0

    def find(self, manifest: Manifest) -> Platform | None:
        """Return the platform in an image's config, or ``None`` if the artifact has none.

        Raises:
            SourceError: The configs of the index are too large.
            K8scrError: The source does not have the config, or has it damaged.
        """
        config = manifest.config
        if config is None or config.size > MAXIMUM_CONFIG_SIZE:
            return None
        self._bytes += config.size
        if self._bytes > _MAXIMUM_BYTES:
            raise SourceError(
                f"an index in {self._source.description} does not state its platforms, and the configs of its images"
                f" have more than {_MAXIMUM_BYTES} bytes"
            )
        return config_platform(read_config(self._source, config))


def read_config(source: ImageSource, config: Descriptor) -> dict[str, Any]:
    """Return the JSON object of an image's config; an empty one if the config is not valid.

    Raises:
        K8scrError: The source does not have the config, or has it damaged.
    """
    what = f"config {config.digest} in {source.description}"
    with source.open_blob(config) as blocks:
        content = read_verified(blocks, config.digest, config.size, what)
    try:
        return load_json_object(content, what, MAXIMUM_CONFIG_SIZE)
    except InputError:
        return {}


def config_platform(config: dict[str, Any]) -> Platform | None:
    """Return the platform in an image's config, or ``None`` if it has none."""
    platform = Platform.from_json(config)
    return platform if platform.is_complete else None
