#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_node_images
short_description: Import images from archives into a node's container runtime
version_added: 0.1.0
description:
  - Imports the images of archives into the container runtime of a node, or removes them. From containerd, the module
    removes only images that it imported. Podman does not record them, so any listed image is removed.
  - Images are compared by digest. An archive is imported only if one of its images is missing on the node. Run the
    module in check mode first to find out which archives the node needs.
  - The role P(k8scr.core.preload#role) uses this module. It connects to no cluster and requires no library on the node.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.containerd
  - k8scr.core.attributes
options:
  images:
    description: The images, in the format of M(k8scr.core.k8scr_archive_info). With O(state=present), different images
      with the same name are an error. With O(state=absent), an empty list stands for all images that were imported into
      containerd. It is an error for Podman.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Full name of the image.
        type: str
        required: true
      digest:
        description: Digest of the manifest or index. Empty if the archive has no such digest.
        type: str
        default: ""
      config_digests:
        description: Digests of the configs, one for each platform.
        type: list
        elements: str
        default: []
      file:
        description: File name of the archive in O(folder).
        type: str
        required: true
      archive:
        description: Path of the archive on the controller, for error messages. The default is O(images[].file).
        type: str
  folder:
    description: Folder of the archives on the node. The default is V(/var/lib/k8scr).
    type: path
    default: /var/lib/k8scr
  delete_archives:
    description: Whether to delete the archives from O(folder) after success, and the folder if it is empty then. By
      default, archives are kept.
    type: bool
    default: false
  runtime:
    description: Container runtime. The default is V(containerd). V(containers) is the storage of Podman and CRI-O.
    type: str
    choices: [containerd, containers]
    default: containerd
  program:
    description: Command of the runtime's client. The default is C(ctr) or C(podman).
    type: str
  snapshotter:
    description: Snapshotter that unpacks the images in containerd. The default is the one in containerd's configuration
      for Kubernetes, or containerd's default if the configuration cannot be read.
    type: str
    default: ""
  pinned:
    description: Whether to exempt images in containerd from the kubelet's garbage collection. The default is V(true).
    type: bool
    default: true
  state:
    description: State of the images. With V(present), the default, they are imported. With V(absent), they are removed.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: k8scr.core.k8scr_archive_info
  - module: k8scr.core.k8scr_node_export
"""

EXAMPLES = r"""
- name: List the images in an archive
  k8scr.core.k8scr_archive_info:
    archives: [/media/app/registry.tar]
  delegate_to: localhost
  register: read

- name: Find the archives that the node needs
  k8scr.core.k8scr_node_images:
    images: "{{ read.images }}"
  check_mode: true
  register: planned

- name: Copy the archive to the node
  ansible.builtin.copy:
    src: /media/app/registry.tar
    dest: "/var/lib/k8scr/{{ read.images[0].file }}"
    mode: "0600"
  when: planned.lacking

- name: Import the images
  k8scr.core.k8scr_node_images:
    images: "{{ read.images }}"

- name: Remove all imported images
  k8scr.core.k8scr_node_images:
    state: absent
"""

RETURN = r"""
images:
  description: The images, each with the action that was taken or, in check mode, is planned.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the image.
      type: str
      sample: docker.io/library/registry:3.1.2
    action:
      description: V(imported), V(pinned), V(unchanged), V(removed), or V(unpinned) for an image that existed before.
      type: str
      sample: imported
lacking:
  description: Names of the imported archives in O(folder), in check mode of those to import.
  returned: success
  type: list
  elements: str
  sample: [1f42287a87e2-registry.tar]
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.node_images import (
    NODE_IMAGES_ARGUMENT_SPEC,
    run_node_images,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.redacting_module import run_local_module


def main() -> None:
    """Run the module."""
    run_local_module(NODE_IMAGES_ARGUMENT_SPEC, lambda module: run_node_images(module, module.progress))


if __name__ == "__main__":
    main()
