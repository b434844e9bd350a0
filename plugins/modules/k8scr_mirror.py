#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_mirror
short_description: Make a node's container runtime pull from a mirror
version_added: 0.1.0
description:
  - Writes into the configuration files of a container runtime that a registry is to be asked first for the images of
    other registries, under their original names.
  - What administrators wrote into these files stays in effect, and is what remains with O(state=absent).
  - Each file in which administrators have entries is parsed before and after the change. If other entries than those of
    this module would change, the task fails and changes nothing.
  - Symbolic links to files are followed if they belong to root or to the user of the task, in a folder that not all
    users can write to. A link that leads nowhere is an error.
  - This is what the role P(k8scr.core.node_mirror#role) uses. It speaks to no cluster.
author:
  - k8scr.core contributors (@k8scr)
requirements:
  - PyYAML on the node, to change a C(registries.yaml) in which administrators have entries
  - Python 3.11 or newer on the node, or the library tomli or a pip or setuptools that ships it, to change a
    C(hosts.toml), or to use a C(registries.conf), in which administrators have entries
extends_documentation_fragment:
  - k8scr.core.attributes
options:
  runtime:
    description:
      - V(containerd) has a C(hosts.toml) for each registry, which it reads again for each pull.
      - V(containers) is Podman, CRI-O, Buildah and skopeo, which read drop-ins for C(registries.conf).
      - V(k3s) is k3s and RKE2, which read their C(registries.yaml) when they start.
    type: str
    choices: [containerd, containers, k3s]
    required: true
  path:
    description:
      - The folder of C(hosts.toml) folders, the folder of drop-ins, or the C(registries.yaml).
      - The default is C(/etc/containerd/certs.d), C(/etc/containers/registries.conf.d) or
        C(/etc/rancher/k3s/registries.yaml).
    type: path
  endpoint:
    description: The mirror's URL, as in V(http://10.96.10.20:5001). Required with O(state=present).
    type: str
  ca_cert:
    description:
      - A PEM file on the node with the certificates to trust for the mirror, where the node does not trust it anyway.
      - Podman and CRI-O get a copy of it, others read it where it is.
    type: path
  upstreams:
    description:
      - The registries whose images are pulled from it, each by its host, as in V(docker.io).
      - V(*) stands for all; for containerd, for those that have no folder of their own. Drop-ins cannot say that.
      - They are all that the node has. Those that only an earlier task named are as they were before it.
    type: list
    elements: str
    default: []
  qualify:
    description: Whether an image's repository in the mirror begins with the host of its name, as with the option of
      the same name of M(k8scr.core.k8scr_push).
    type: bool
    default: false
  fallback:
    description:
      - Whether a registry itself is asked for what the mirror does not have.
      - k3s and RKE2 have an option for that, which is not in C(registries.yaml); the role knows it.
    type: bool
    default: true
  backup:
    description:
      - Whether to back up each file with lines of administrators before it is changed.
      - The backup is a new file beside the real one, with its owner and mode. A task that changes nothing makes none.
    type: bool
    default: true
  state:
    description: Whether the mirror is used.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: k8scr.core.k8scr_push
"""

EXAMPLES = r"""
- name: Pull the images of two registries from the cluster's own
  k8scr.core.k8scr_mirror:
    runtime: containerd
    endpoint: http://10.96.10.20:5001
    upstreams: [docker.io, quay.io]

- name: Pull everything from it, and nothing from elsewhere
  k8scr.core.k8scr_mirror:
    runtime: containerd
    endpoint: http://10.96.10.20:5001
    upstreams: ["*"]
    fallback: false

- name: Pull from a registry that has a certificate of the company's own
  k8scr.core.k8scr_mirror:
    runtime: containerd
    endpoint: https://registry.example.com
    ca_cert: /etc/ssl/certs/example-ca.pem
    upstreams: [docker.io]

- name: Take all of it back
  k8scr.core.k8scr_mirror:
    runtime: containerd
    state: absent
"""

RETURN = r"""
files:
  description: The files that say it, and what became of each, or in check mode would.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      sample: /etc/containerd/certs.d/docker.io/hosts.toml
    action:
      description: V(created), V(updated), V(unchanged) or V(deleted).
      type: str
      sample: created
backups:
  description: The backups of changed files with lines of administrators.
  returned: success
  type: list
  elements: str
  sample: [/etc/containerd/certs.d/docker.io/hosts.toml.4711.2026-11-24@12:00:00~]
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.mirror import run_mirror
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.run_local_module import run_local_module


def main() -> None:
    """Run the module."""
    run_local_module(
        {
            "runtime": {"type": "str", "choices": ["containerd", "containers", "k3s"], "required": True},
            "path": {"type": "path"},
            "endpoint": {"type": "str"},
            "ca_cert": {"type": "path"},
            "upstreams": {"type": "list", "elements": "str", "default": []},
            "qualify": {"type": "bool", "default": False},
            "fallback": {"type": "bool", "default": True},
            "backup": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        run_mirror,
        required_if=[("state", "present", ("endpoint", "upstreams"))],
    )


if __name__ == "__main__":
    main()
