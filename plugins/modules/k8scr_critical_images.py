#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_critical_images
short_description: Find the images that nodes need before they can pull from the registry
version_added: 0.1.0
description:
  - Lists images without which a node cannot pull from the registry in the cluster, for example after a restart. These
    are the images of the registry, the network, the Service proxy, and the DNS server and storage that the registry may
    use.
  - They are the images of Pods in the namespace C(kube-system), of Pods with the priority class
    C(system-node-critical), of DaemonSets in the node's network, and of the registry. The sandbox image of a node is in
    its own configuration; M(k8scr.core.k8scr_node_export) returns its name.
  - Only images that a node has started are listed. Static Pods, Pods without a controller and Jobs are skipped. So is a
    DaemonSet with Pods on fewer than half of the nodes of a platform, for example one for the drivers of GPUs.
  - The role P(k8scr.core.preload#role) uses this module. It changes nothing. It needs the permission C(list) on C(pods)
    of all namespaces and on C(nodes).
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.attributes
  - k8scr.core.attributes.cluster
attributes:
  diff_mode:
    support: none
    details: Nothing changes.
options:
  namespace:
    description: Namespace of the registry. The default is V(k8scr).
    type: str
    default: k8scr
  registry:
    description: Pod of the registry. The default is V(k8scr-0). If it belongs to a StatefulSet, all replicas count.
    type: str
    default: k8scr-0
seealso:
  - module: k8scr.core.k8scr_node_export
"""

EXAMPLES = r"""
- name: Find the images that nodes need
  k8scr.core.k8scr_critical_images:
  register: critical

- name: Show their names
  ansible.builtin.debug:
    var: critical.images | map(attribute='name')
"""

RETURN = r"""
images:
  description: The images, sorted by name. It is empty if the cluster has none, for example before the first node.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Full name of the image as containerd has it. A name with a digest has no tag.
      type: str
      sample: registry.k8s.io/kube-proxy:v1.37.2
    platforms:
      description: Platforms of the nodes that need it.
      type: list
      elements: str
      sample: [linux/amd64]
    workloads:
      description: The workloads that use it.
      type: list
      elements: str
      sample: [DaemonSet kube-system/kube-proxy]
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import run_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.critical_images import (
    CRITICAL_IMAGES_ARGUMENT_SPEC,
    run_critical_images,
)


def main() -> None:
    """Run the module."""
    run_module(CRITICAL_IMAGES_ARGUMENT_SPEC, run_critical_images)


if __name__ == "__main__":
    main()
