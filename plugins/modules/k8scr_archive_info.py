#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_archive_info
short_description: Tell which images are in archives
version_added: 0.1.0
description:
  - Reads the names and digests of the images in OCI archives and in what C(docker save) writes, also where gzip has
    compressed these as a whole. Nothing is unpacked.
  - The role P(k8scr.core.preload#role) uses it to send nodes only what they lack. It speaks to no cluster, and needs no
    library.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.attributes
attributes:
  diff_mode:
    support: none
options:
  archives:
    description: The archives, on the host that runs the task.
    type: list
    elements: path
    required: true
seealso:
  - module: k8scr.core.k8scr_node_images
"""

EXAMPLES = r"""
- name: Look into two archives
  k8scr.core.k8scr_archive_info:
    archives:
      - /media/app/registry.tar
      - /media/app/app.tar
  register: read
"""

RETURN = r"""
images:
  description: One entry for each name of an image, in the order of the archives.
  returned: success
  type: list
  elements: dict
  contains:
    archive:
      description: The archive.
      type: str
      sample: /media/app/registry.tar
    file:
      description: A name for the archive that follows its content, and tells it from others of the same name.
      type: str
      sample: 1f42287a87e2-registry.tar
    name:
      description: The image's full name.
      type: str
      sample: docker.io/library/registry:3.1.2
    digest:
      description: The digest of its manifest or index. Empty in archives of Docker before 25, which have none.
      type: str
      sample: sha256:80aaead7b92f5a2326bc7dc9ca249d39973cf3dbf4dc86244ebff1609bbc1e66
    config_digests:
      description: The digests of its configs, one for each platform that is in the archive.
      type: list
      elements: str
      sample: [sha256:1f42287a87e263b0472fee7e4619e980b52b3a87516d9a3b91ebde45f9522982]
archives:
  description: One entry for each archive, with a name for it in a folder that has all of them.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The archive.
      type: str
      sample: /media/app/registry.tar
    name:
      description:
        - The name. It is the base name, or if several archives have the same base name, the base name after a prefix.
        - The prefix depends on the path, so that a new version of an archive has the same name.
      type: str
      sample: registry.tar
    other_name:
      description: The base name with the prefix if RV(archives[].name) is without it, and the other way round.
      type: str
      sample: 2f3a1b7c9d0e-registry.tar
    shared:
      description: Whether several archives have the same base name.
      type: bool
      sample: false
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.archive_info import run_archive_info
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.run_local_module import run_local_module


def main() -> None:
    """Run the module."""
    run_local_module({"archives": {"type": "list", "elements": "path", "required": True}}, run_archive_info)


if __name__ == "__main__":
    main()
