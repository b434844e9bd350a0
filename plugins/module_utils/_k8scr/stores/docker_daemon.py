# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine of Docker or Podman (``docker-daemon:``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.settings import DockerSettings
from ..oci.interfaces import SourceImage

if TYPE_CHECKING:
    from ..engine.client import Engine
    from .docker_daemon_image import DockerDaemonDestination, DockerDaemonSource

TRANSPORT = "docker-daemon"

_LARGE_FILES = "/var/tmp"  # noqa: S108 - the files have no names there


class DockerDaemon:
    """The engine of Docker or Podman. Its client is imported and connects when the first image needs it.

    Args:
        settings: The engine to use. The default folder for exports is TMPDIR or ``/var/tmp``, as in Docker and Podman.
    """

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings
        self._engine: Engine | None = None
        self._sources: list[DockerDaemonSource] = []

    def open(self, name: str | None) -> tuple[DockerDaemonSource, list[SourceImage]]:
        """Find an image.

        Raises:
            K8scrError: The image does not exist, or the engine is unavailable.
        """
        from .docker_daemon_image import DockerDaemonSource

        folder = self._settings.tmp_dest or os.environ.get("TMPDIR") or _LARGE_FILES
        source = DockerDaemonSource(self._connect(), Path(folder))
        self._sources.append(source)
        return source, source.images(name)

    def destination(self) -> DockerDaemonDestination:
        """Return a destination for one image.

        Raises:
            K8scrError: The options are invalid or contradict each other.
        """
        from .docker_daemon_image import DockerDaemonDestination

        return DockerDaemonDestination(self._connect())

    def close(self) -> None:
        """Delete exports and close connections."""
        for source in self._sources:
            source.close()
        if self._engine:
            self._engine.close()

    def _connect(self) -> Engine:
        from ..engine.client import Engine
        from ..engine.context import find_endpoint

        if self._engine is None:
            self._engine = Engine(find_endpoint(self._settings, os.environ))
        return self._engine
