# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry that the role deploys, with the paths of the upstream image."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..tools import Umoci, cluster_program, require, skopeo

SUMMARY = "CNCF distribution, with the registry program of the test cluster"
TAG = "docker.io/library/registry:3.1.2"
CONFIGURATION = """\
version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
"""


def make(folder: Path, scratch: Path) -> None:
    """Make the image as an OCI layout, an OCI archive and a Docker archive."""
    require("umoci", "skopeo")
    image = Umoci(folder / "layout", TAG, scratch / "bundle")
    image.unpack()
    binary = image.rootfs / "bin" / "registry"
    binary.parent.mkdir()
    shutil.copyfile(cluster_program("registry"), binary)
    binary.chmod(0o755)
    image.commit("the program")
    configuration = image.rootfs / "etc" / "distribution" / "config.yml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(CONFIGURATION)
    image.commit("its configuration")
    image.finish(
        *("--config.entrypoint", "registry", "--config.cmd", "serve", "--config.cmd", "/etc/distribution/config.yml"),
        *("--config.env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"),
        *("--config.exposedports", "5000/tcp", "--config.volume", "/var/lib/registry"),
    )
    layout = f"oci:{folder / 'layout'}:{TAG}"
    skopeo("copy", layout, f"oci-archive:{folder / 'oci-archive.tar'}:{TAG}")
    skopeo("copy", layout, f"docker-archive:{folder / 'docker-archive.tar'}:{TAG}")
