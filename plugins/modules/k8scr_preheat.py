#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_preheat
short_description: Pull images on the nodes of a cluster, and report which node has which image
version_added: 0.1.0
description:
  - Creates a Pod for each image on each node. The kubelet of the node pulls the image as it does for any other Pod,
    with the same mirrors and credentials. No program of the image runs, so images without a shell and images without
    any program work as well.
  - The Pods mount the image as an image volume. If the API server or the kubelet does not have image volumes, which are
    the default since Kubernetes 1.35, the image is that of a container whose command does not exist.
  - The module tries all images on all nodes. If any pull fails, it fails at the end, and its message names each failed
    image and node with the reason.
  - A node that is not ready is reported as failed. Cordoned nodes pull the images too, and the report names them.
    Windows nodes are left out, with a warning.
  - The Pods comply with the Pod Security Standard C(restricted). They are deleted as soon as their results are known,
    also after Ctrl-C. If the module is killed, the Pods end after O(timeout), and a later run deletes them.
  - It requires the permissions C(list) on C(nodes), C(list) on C(events), and C(create), C(get), C(list), C(delete) and
    C(deletecollection) on C(pods) in O(namespace); for O(keep) and O(state=absent) also C(get), C(create), C(patch) and
    C(delete) on C(daemonsets).
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.progress
  - k8scr.core.attributes
  - k8scr.core.attributes.cluster
attributes:
  check_mode:
    details: In check mode, no Pod is created. The report has the results that the nodes' status suggests. It names 50
      images of each node by default.
  diff_mode:
    details: The diff shows the DaemonSet of O(keep).
options:
  images:
    description: Names of the images, as in the Pods that use them. They are pulled in addition to those of O(lock).
    type: list
    elements: str
    default: []
  platforms:
    description:
      - Platforms of the images, by their names. Each is C(OS/ARCH) or C(OS/ARCH/VARIANT), as
        M(k8scr.core.k8scr_info) returns them. By default, they are not known. Set it if images may lack an index, as
        those that M(k8scr.core.k8scr_push) pushes with one platform.
      - An image that has no platform of a node fails there, and no Pod is created. Variants are not compared, because
        nodes do not report them. As in containerd, C(amd64) includes C(386), and C(arm64) includes C(arm).
        WebAssembly, the architecture C(wasm), matches all nodes. If the nodes emulate other platforms, do not name the
        images for them.
      - Names of images that are not pulled are ignored.
    type: dict
    default: {}
  lock:
    description: Path of a lock file, on the host that runs the module. The images that it names are pulled. See
      O(k8scr.core.k8scr_push#module:lock).
    type: path
  state:
    description: Whether to pull the images. With V(present), the default, they are pulled. With V(absent), the
      DaemonSet of O(keep) and the Pods of interrupted runs in O(namespace) are deleted. The images stay on the nodes.
    type: str
    choices: [present, absent]
    default: present
  image:
    description: Image of the containers that mount the images. By default, that of the role
      P(k8scr.core.registry#role). Set it to an image that the nodes can pull. It is a Linux image, and O(keep) needs
      C(sh) and C(sleep) in it. Without O(keep), a node on which it is missing still pulls the images.
    type: str
    default: docker.io/library/registry:3.1.2
  namespace:
    description: Namespace of the Pods. The default is V(default). Set it to a namespace whose service account
      C(default) has the C(imagePullSecrets) for private images.
    type: str
    default: default
  nodes:
    description: Names of the nodes that pull the images, as in the Kubernetes API. By default, all nodes with the
      labels in O(node_selector). The DaemonSet of O(keep) does not depend on them.
    type: list
    elements: str
    default: []
  node_selector:
    description: Labels of the nodes, with their values. By default, all nodes pull the images.
    type: dict
    default: {}
  tolerations:
    description: Tolerations of the Pods, as in the Kubernetes API. By default, the Pods tolerate all taints. Set it to
      leave out nodes with other taints. As with DaemonSets, cordoned nodes and nodes under pressure are never left out.
    type: list
    elements: dict
    default: [{operator: Exists}]
  parallel:
    description: Maximum number of images that a node pulls at once, from V(1) to V(100). The default is V(2). A kubelet
      with C(serializeImagePulls), its default, pulls one after the other.
    type: int
    default: 2
  parallel_nodes:
    description: Maximum number of nodes that pull at once, from V(1) to V(5000). The default is V(10). Lower it if the
      pulls overload the registry or the network.
    type: int
    default: 10
  timeout:
    description: Seconds for one image on one node, from V(1) to V(2147483). The default is V(1800). If the registry
      does not respond or the disk of the node is full, the pull fails after 35 seconds and about three attempts of the
      kubelet. A missing image, a wrong platform and a rejected credential fail at once.
    type: int
    default: 1800
  keep:
    description:
      - Whether to create the DaemonSet C(k8scr-preheat) after all pulls succeeded. Its Pods mount the images, so that
        new nodes pull them, and the kubelet does not delete them while the Pods run. By default, no DaemonSet is
        created, and an existing one is not changed.
      - The DaemonSet has the images of this task only. Use one O(namespace) for each list of images.
      - It requires image volumes. With a container runtime that cannot mount them, such as containerd before 2.1, new
        nodes pull the images, but the Pods do not become ready and do not protect the images.
    type: bool
    default: false
notes:
  - Container runtimes check the platform of an image only if its name refers to an index. Without O(platforms), an
    image without an index is pulled on nodes of any platform, also on those that cannot run it.
seealso:
  - module: k8scr.core.k8scr_info
  - module: k8scr.core.k8scr_push
  - module: k8scr.core.k8scr_node_images
"""

EXAMPLES = r"""
- name: Pull two images on all nodes
  k8scr.core.k8scr_preheat:
    images:
      - registry.example.com/team/api:1.4.2
      - docker.io/library/busybox:1.36

- name: Pull the images of a lock file on the nodes with a GPU, and on those that join later
  k8scr.core.k8scr_preheat:
    lock: /srv/media/images.lock
    node_selector:
      example.com/gpu: "true"
    keep: true

- name: Pull an image on the nodes, and fail on those that cannot run it
  k8scr.core.k8scr_preheat:
    images: [registry.example.com/team/api:1.4.2]
    platforms:
      registry.example.com/team/api:1.4.2: [linux/arm64]
"""

RETURN = r"""
report:
  description: The result of each image on each node, sorted by node and image.
  returned: always
  type: list
  elements: dict
  contains:
    node:
      description: The name of the node.
      type: str
    image:
      description: The name of the image, as in the options.
      type: str
    result:
      description: V(present) if the node had the image, V(pulled) if it pulled the image, or V(failed).
      type: str
    seconds:
      description: The seconds of the pull as the kubelet reports them, or until it failed; V(0) for V(present).
      type: float
    reason:
      description: Why the pull failed, and whether the node is cordoned; empty if there is nothing to report.
      type: str
  sample:
    - node: node-1
      image: docker.io/library/busybox:1.36
      result: pulled
      seconds: 0.683
      reason: ""
    - node: node-2
      image: docker.io/library/busybox:1.36
      result: present
      seconds: 0.0
      reason: the node is cordoned
table:
  description: The report as the lines of a table.
  returned: always
  type: list
  elements: str
  sample:
    - NODE    IMAGE                           RESULT   SECONDS  REASON
    - node-1  docker.io/library/busybox:1.36  pulled   0.7
    - node-2  docker.io/library/busybox:1.36  present  0.0      the node is cordoned
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import run_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.preheat import (
    PREHEAT_ARGUMENT_SPEC,
    PREHEAT_EMPTY_RESULT,
    run_preheat,
)


def main() -> None:
    """Run the module."""
    run_module(PREHEAT_ARGUMENT_SPEC, run_preheat, empty_result=PREHEAT_EMPTY_RESULT)


if __name__ == "__main__":
    main()
