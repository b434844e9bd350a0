#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_node_mirror
short_description: Configure the nodes of a cluster to pull from a mirror, without SSH
version_added: 0.1.0
description:
  - Configures a mirror in the files of the nodes' container runtime, as M(k8scr.core.k8scr_containerd) and
    M(k8scr.core.k8scr_mirror) do, but through Pods. It needs neither SSH nor Python on the nodes.
  - A Pod with the root folder of its node runs on each node until the node is configured. The module reads the files
    through it, computes the changes on the host of the module, and writes them. In check mode, the Pods run too, and
    the module only reads. A Pod of an interrupted run ends after 15 minutes, and the next run deletes it.
  - A DaemonSet configures new nodes that have the same files as a configured node had before. Its Pods have the root
    folder of the node in an init container, and then run without permissions. On a node with other files, the Pod does
    not become ready and says so, until the module runs again.
  - The Secret of the DaemonSet has the changed files. If the files of the nodes contain passwords, so does the Secret.
  - With O(state=absent), the module restores the files of all nodes, and deletes the DaemonSet, its Secret, and the
    namespace if it created it.
  - The nodes need C(sh) and the usual basic programs, and writable configuration files. Talos and Bottlerocket have
    neither. Nodes with Windows are not configured.
  - The module needs permissions on nodes (C(list)), namespaces, Pods, C(pods/exec), DaemonSets and Secrets. Users with
    permissions to create Pods in the namespace can take over the nodes.
  - The role P(k8scr.core.node_mirror#role) uses this module.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.mirror
  - k8scr.core.auth
  - k8scr.core.progress
  - k8scr.core.attributes
  - k8scr.core.attributes.cluster
options:
  runtime:
    description: Container runtime of the nodes. The default is V(containerd). V(containers) stands for Podman and
      CRI-O, and V(k3s) for k3s and RKE2.
    type: str
    choices: [containerd, containers, k3s]
    default: containerd
  path:
    description: Path on the nodes of the folder of C(hosts.toml) folders, of the folder of drop-ins, or of the
      C(registries.yaml). By default, the module reads the folder from containerd's configuration, and sets it there if
      it is unset. The defaults of the other runtimes are those of O(k8scr.core.k8scr_mirror#module:path).
    type: str
  mirror_ca_cert:
    description: Path of a PEM file on the nodes with the CA certificates to trust for the mirror. By default, the
      certificates that the nodes trust already. Set it for a private CA.
    type: str
  config:
    description: Path of containerd's configuration file on the nodes. The default is V(/etc/containerd/config.toml).
    type: str
    default: /etc/containerd/config.toml
  program:
    description: Program on the nodes that prints containerd's effective configuration and version. The default is
      V(containerd).
    type: str
    default: containerd
  image:
    description: Image of the Pods, with C(sh), C(chroot) and other basic programs, such as that of the registry. The
      nodes must have it or be able to pull it.
    type: str
    required: true
  namespace:
    description: Namespace of the Pods. The default is V(k8scr-nodes). If it does not exist, the module creates it, with
      the privileged level of Pod Security.
    type: str
    default: k8scr-nodes
  name:
    description: Name of the DaemonSet and of its Secret. The default is V(node-mirror). Set it, and O(node_selector),
      for each group of nodes with other options.
    type: str
    default: node-mirror
  node_selector:
    description: Labels of the nodes to configure. By default, all nodes. Taints are tolerated.
    type: dict
    default: {}
  wait_timeout:
    description: Seconds to wait for the Pod of each node, and for the Pods of the DaemonSet, from V(0) to V(2147483).
      The default is V(180).
    type: int
    default: 180
seealso:
  - module: k8scr.core.k8scr_mirror
"""

EXAMPLES = r"""
- name: Pull the images of two registries from the cluster's registry on all nodes
  k8scr.core.k8scr_node_mirror:
    endpoint: http://10.96.10.20:5001
    upstreams: [docker.io, quay.io]
    image: docker.io/library/registry:3.1.2

- name: Configure nodes with a label that run CRI-O
  k8scr.core.k8scr_node_mirror:
    name: node-mirror-crio
    node_selector:
      example.com/runtime: crio
    runtime: containers
    endpoint: http://10.96.10.20:5001
    upstreams: [docker.io]
    image: docker.io/library/registry:3.1.2

- name: Remove the mirror from all nodes
  k8scr.core.k8scr_node_mirror:
    image: docker.io/library/registry:3.1.2
    state: absent
"""

RETURN = r"""
nodes:
  description: The nodes that were read, each with its files.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the node.
      type: str
      sample: node-1
    files:
      description: The configuration files, each with the action that was taken or, in check mode, is planned.
      type: list
      elements: dict
      contains:
        path:
          description: Path of the file.
          type: str
          sample: /etc/containerd/certs.d/docker.io/hosts.toml
        action:
          description: V(created), V(updated), V(unchanged) or V(deleted).
          type: str
          sample: created
    backups:
      description: Backups on the node of the changed files with entries of administrators.
      type: list
      elements: str
      sample: [/etc/containerd/certs.d/docker.io/hosts.toml.42.2026-12-01@12:00:00~]
restart_needed:
  description: The nodes whose container runtime uses the changes only after a restart, or after a reload of CRI-O.
  returned: success
  type: list
  elements: str
  sample: [node-1]
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import run_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.node_mirror import (
    NODE_MIRROR_ARGUMENT_SPEC,
    NODE_MIRROR_RULES,
    run_node_mirror,
)


def main() -> None:
    """Run the module."""
    run_module(NODE_MIRROR_ARGUMENT_SPEC, run_node_mirror, **NODE_MIRROR_RULES)


if __name__ == "__main__":
    main()
