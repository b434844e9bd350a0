# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options for the mirror that nodes pull from."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that configure a mirror on nodes."""

    DOCUMENTATION = r"""
options:
  endpoint:
    description: URL of the mirror, as in V(http://10.96.10.20:5001) or V(http://[fd00:10:96::20]:5001). Required with
      O(state=present).
    type: str
  upstreams:
    description: Hosts of the registries whose images are pulled from the mirror, as in V(docker.io). V(*) stands for
      all registries, and in containerd for those without their own folder. V(containers) does not support it. The
      list is complete. A registry that only an earlier task configured is restored to its previous configuration.
    type: list
    elements: str
    default: []
  exclude:
    description: Hosts of the registries that are never pulled from the mirror although O(upstreams) has V(*), as in
      V(registry.k8s.io). By default, there are none. Set it for images that nodes need before they can reach the
      mirror. Entries of administrators for these registries stay in effect. An entry with the path of an image is an
      error, because a mirror applies to whole registries.
    type: list
    elements: str
    default: []
  dial_timeout:
    description: How long containerd waits for a connection to the mirror, as in V(2s), with the unit V(ms), V(s) or
      V(m). The default is an empty string, with which containerd waits 30 seconds for each request of a pull. Set it
      to a few seconds so that a mirror that is down delays pulls less. containerd supports it since version 2.0.7. With
      an older or unknown version, the task omits it with a warning. Other runtimes do not support it.
    type: str
    default: ""
  qualify:
    description: Whether an image's repository in the mirror begins with the host of the image's name. By default, it
      does not. Set it to the value of O(k8scr.core.k8scr_push#module:qualify) for the pushes to the mirror.
    type: bool
    default: false
  fallback:
    description: Whether to pull from the original registry if the mirror does not have an image. By default, the
      runtime does. k3s and RKE2 have their own option for this, outside C(registries.yaml). The role sets it.
    type: bool
    default: true
  backup:
    description:
      - Whether to back up each file with entries of administrators before a change. By default, files are backed up.
      - The backup is a new file next to the original, with the same owner and mode, and only if the file changes.
    type: bool
    default: true
  state:
    description: State of the mirror. With V(present), the default, it is configured. With V(absent), it is removed.
    type: str
    choices: [present, absent]
    default: present
"""
