# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine of Docker or Podman (``docker-daemon:``)."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from functools import cached_property
from typing import TYPE_CHECKING

from ..engine.settings import DockerSettings
from ..files.unpacking import temporary_folder
from ..oci.interfaces import SourceImage

if TYPE_CHECKING:
    from ..engine.client import Engine
    from .docker_daemon_image import DockerDaemonDestination, DockerDaemonSource
    from .docker_exports import Exports

TRANSPORT = "docker-daemon"


class DockerDaemon:
    """The engine of Docker or Podman. Its client is imported and connects when the first image needs it.

    The default folder for exports is TMPDIR or ``/var/tmp``, as in Docker and Podman.

    Args:
        exports: The maximum number of exports at once.
    """

    def __init__(self, settings: DockerSettings, exports: int = 1) -> None:
        self._settings = settings
        self._limit = exports
        self._opened = ExitStack()

    def open(self, name: str | None) -> tuple[DockerDaemonSource, list[SourceImage]]:
        """Find an image.

        Raises:
            K8scrError: The image does not exist, or the engine is unavailable.
        """
        from .docker_daemon_image import DockerDaemonSource

        folder = temporary_folder(self._settings.tmp_dest)
        source = DockerDaemonSource(self._engine, folder, self._exports, name)
        return source, [source.image]

    def destination(self) -> DockerDaemonDestination:
        """Return a destination for one image.

        Raises:
            K8scrError: The options are invalid or contradict each other.
        """
        from .docker_daemon_image import DockerDaemonDestination

        return DockerDaemonDestination(self._engine)

    def close(self) -> None:
        """Delete exports and close connections."""
        self._opened.close()

    @cached_property
    def _exports(self) -> Exports:
        from .docker_exports import Exports

        return self._opened.enter_context(closing(Exports(self._limit)))

    @cached_property
    def _engine(self) -> Engine:
        from ..engine.client import Engine
        from ..engine.context import find_endpoint

        return self._opened.enter_context(closing(Engine(find_endpoint(self._settings, os.environ))))
