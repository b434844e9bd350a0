#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_node_export
short_description: Export images from a node's containerd
version_added: 0.1.0
description:
  - Exports images from a node's containerd to OCI archives, one for each image. An archive has the content for the
    platform of the node. Its name and digest are those of the image in containerd.
  - Run the module in check mode to find out which images the node has.
  - containerd discards the layers of images after it has unpacked them if C(discard_unpacked_layers) is set. Such an
    image is incomplete and cannot be exported.
  - The role P(k8scr.core.preload#role) uses this module. It connects to no cluster and requires no library on the node.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.containerd
  - k8scr.core.attributes
attributes:
  diff_mode:
    support: none
options:
  images:
    description: The images, in the format of M(k8scr.core.k8scr_critical_images). Images for other platforms are
      skipped. By default, there are none, and the module returns only RV(platform) and RV(sandbox).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Full name of the image as containerd has it. A name with a digest has no tag.
        type: str
        required: true
      platforms:
        description: Platforms of the nodes that need the image. The default is all platforms.
        type: list
        elements: str
        default: []
      workloads:
        description: Workloads that use the image, for messages. By default, messages name none.
        type: list
        elements: str
        default: []
  folder:
    description: Existing folder on the node for the archives. Its owner will own the archives. Existing archives are
      replaced. Required for images, except in check mode.
    type: path
  program:
    description: Command of containerd's client. The default is C(ctr).
    type: str
seealso:
  - module: k8scr.core.k8scr_critical_images
  - module: k8scr.core.k8scr_node_images
"""

EXAMPLES = r"""
- name: Find out which images the node has
  k8scr.core.k8scr_node_export:
    images:
      - name: registry.k8s.io/kube-proxy:v1.37.2
      - name: docker.io/library/registry:3.1.2
  check_mode: true
  register: found

- name: Export one of them
  k8scr.core.k8scr_node_export:
    images:
      - name: docker.io/library/registry:3.1.2
    folder: /var/tmp
"""

RETURN = r"""
platform:
  description: Platform of the node, without a variant.
  returned: success
  type: str
  sample: linux/amd64
sandbox:
  description: The sandbox image in containerd's configuration, in the format of O(images). Each Pod has a container
    with this image.
  returned: success
  type: dict
  contains:
    name:
      description: Full name of the image.
      type: str
      sample: registry.k8s.io/pause:3.10
    platforms:
      description: Platform of the node.
      type: list
      elements: str
      sample: [linux/amd64]
images:
  description: The images for the platform of the node, in the order of O(images).
  returned: success
  type: list
  elements: dict
  contains:
    image:
      description: The image, in the format of O(k8scr.core.k8scr_node_images#module:images).
      type: dict
      contains:
        name:
          description: Name of the image.
          type: str
          sample: docker.io/library/registry:3.1.2
        digest:
          description: Digest of its manifest or index. Empty if containerd does not have the image.
          type: str
          sample: sha256:4bcf63…
        file:
          description: File name of its archive. It is the same on all nodes with the same platform.
          type: str
          sample: 1f42287a87e2-registry.tar
    state:
      description: V(complete), V(incomplete) if containerd has discarded layers, or V(missing).
      type: str
      sample: complete
    reason:
      description: The reason why the image cannot be exported. Empty if it can.
      type: str
      sample: ""
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.node_export import (
    NODE_EXPORT_ARGUMENT_SPEC,
    run_node_export,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.redacting_module import run_local_module


def main() -> None:
    """Run the module."""
    run_local_module(NODE_EXPORT_ARGUMENT_SPEC, lambda module: run_node_export(module, module.progress))


if __name__ == "__main__":
    main()
