# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of the engine of Docker or Podman."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DockerSettings:
    """The engine to use; None leaves a value to the environment variables and contexts of Docker's client.

    Attributes:
        cert_path: The folder with the certificates for TLS.
        tmp_dest: The folder for exported images and unpacked archives.
    """

    host: str | None = None
    context: str | None = None
    cert_path: str | None = None
    tmp_dest: str | None = None
