#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_archive_info
short_description: List the images in archives
version_added: 0.1.0
description:
  - Reads the names and digests of the images in OCI archives and in archives of C(docker save), including archives that
    are compressed with gzip, zstd, xz or bzip2.
  - Archives that are compressed with zstd, xz or bzip2 are decompressed into a temporary file in the folder in
    E(TMPDIR), or in C(/var/tmp) if it is unset. zstd requires Python 3.14, the Python library C(zstandard) or the
    program C(zstd) on the host that runs the module. Other archives are not unpacked.
  - The role P(k8scr.core.preload#role) uses this module. It connects to no cluster and requires no library.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.attributes
attributes:
  diff_mode:
    support: none
options:
  archives:
    description: Paths of the archives, on the host that runs the module.
    type: list
    elements: path
    required: true
seealso:
  - module: k8scr.core.k8scr_node_images
"""

EXAMPLES = r"""
- name: List the images in two archives
  k8scr.core.k8scr_archive_info:
    archives: [/media/app/registry.tar, /media/app/app.tar]
  register: read
"""

RETURN = r"""
images:
  description: One entry for each image name, in the order of the archives.
  returned: success
  type: list
  elements: dict
  contains:
    archive:
      description: Path of the archive.
      type: str
      sample: /media/app/registry.tar
    file:
      description: A file name that depends on the archive's content, different for archives with the same base name.
      type: str
      sample: 1f42287a87e2-registry.tar
    name:
      description: Full name of the image.
      type: str
      sample: docker.io/library/registry:3.1.2
    digest:
      description: Digest of the manifest or index; empty in archives of Docker before 25, which have none.
      type: str
      sample: sha256:80aaead7b92f5a2326bc7dc9ca249d39973cf3dbf4dc86244ebff1609bbc1e66
    config_digests:
      description: Digests of the configs, one for each platform in the archive.
      type: list
      elements: str
      sample: [sha256:1f42287a87e263b0472fee7e4619e980b52b3a87516d9a3b91ebde45f9522982]
archives:
  description: One entry for each archive, with a unique file name for a folder with all of them.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: Path of the archive.
      type: str
      sample: /media/app/registry.tar
    name:
      description: File name of the archive. It is the base name, with a prefix if several archives have the same base
        name. The prefix depends on the path, so a new version of an archive has the same name.
      type: str
      sample: registry.tar
    other_name:
      description: The base name with the prefix if RV(archives[].name) has no prefix, otherwise without it.
      type: str
      sample: 2f3a1b7c9d0e-registry.tar
    shared:
      description: Whether several archives have the same base name.
      type: bool
      sample: false
    bundle:
      description: The description of a bundle of M(k8scr.core.k8scr_bundle); V(null) for another archive. An
        incomplete bundle is an error.
      type: dict
      contains:
        base:
          description: The images that a registry must have before it can receive the bundle, each with its name and
            its digest; empty for a bundle that leaves out nothing.
          type: list
          elements: dict
          sample: []
        omitted:
          description: Number of blobs that the bundle leaves out. Such a bundle cannot be loaded into a container
            runtime.
          type: int
          sample: 0
        omitted_bytes:
          description: Total size of these blobs.
          type: int
          sample: 0
        extras:
          description: The files beside the images, each with its path, its size and its SHA-256 sum.
          type: list
          elements: dict
          sample: []
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.archive_info import (
    ARCHIVE_INFO_ARGUMENT_SPEC,
    run_archive_info,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.redacting_module import run_local_module


def main() -> None:
    """Run the module."""
    run_local_module(ARCHIVE_INFO_ARGUMENT_SPEC, run_archive_info)


if __name__ == "__main__":
    main()
