#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_mirror
short_description: Configure a node's container runtime to pull from a mirror
version_added: 0.1.0
description:
  - Configures a mirror in the files of a container runtime. The runtime then requests images of other registries from
    the mirror first, under their original names.
  - The entries of administrators in these files stay in effect. O(state=absent) leaves only these.
  - Each file with entries of administrators is parsed before and after the change. If entries other than those of this
    module would change, the task fails and changes nothing. It also fails if another process changes a file between the
    check and the change.
  - Files must be UTF-8 text of at most 4 MiB. Line breaks, a byte order mark, the mode and the owner are preserved.
  - Symbolic links to files are followed if they belong to root or to the user of the task, and if their folder is not
    writable by all users. A dangling link is an error.
  - The role P(k8scr.core.node_mirror#role) uses this module. It connects to no cluster.
author:
  - k8scr.core contributors (@k8scr)
requirements:
  - PyYAML on the node, to change a C(registries.yaml) with entries of administrators
  - Python 3.11 or newer on the node, or the library tomli or a pip or setuptools that ships it, to change a
    C(hosts.toml) or use a C(registries.conf) with entries of administrators
extends_documentation_fragment:
  - k8scr.core.mirror
  - k8scr.core.attributes
options:
  runtime:
    description: Container runtime to configure. V(containerd) has a C(hosts.toml) for each registry, and reads it for
      each pull. V(containers) stands for Podman, CRI-O, Buildah and skopeo, which read drop-ins for C(registries.conf).
      V(k3s) stands for k3s and RKE2, which read their C(registries.yaml) when they start.
    type: str
    choices: [containerd, containers, k3s]
    required: true
  path:
    description: Path of the folder of C(hosts.toml) folders, of the folder of drop-ins, or of the C(registries.yaml).
      The default is C(/etc/containerd/certs.d), C(/etc/containers/registries.conf.d) or
      C(/etc/rancher/k3s/registries.yaml). Set it if the runtime uses another path.
    type: path
  ca_cert:
    description: Path of a PEM file on the node with the CA certificates to trust for the mirror. Set it if the
      node does not trust the mirror's certificate already. The module copies the file for Podman and CRI-O. Other
      runtimes read it at its path.
    type: path
  program:
    description: Command of containerd, whose version decides whether O(dial_timeout) is set. The default is
      V(containerd).
    type: str
    default: containerd
seealso:
  - module: k8scr.core.k8scr_push
"""

EXAMPLES = r"""
- name: Pull the images of two registries from the cluster's registry
  k8scr.core.k8scr_mirror:
    runtime: containerd
    endpoint: http://10.96.10.20:5001
    upstreams: [docker.io, quay.io]

- name: Pull all images only from a mirror with a certificate of a private CA
  k8scr.core.k8scr_mirror:
    runtime: containerd
    endpoint: https://registry.example.com
    ca_cert: /etc/ssl/certs/example-ca.pem
    upstreams: ["*"]
    fallback: false

- name: Pull all images from the mirror except those that nodes need to reach it, and skip it quickly if it is down
  k8scr.core.k8scr_mirror:
    runtime: containerd
    endpoint: http://10.96.10.20:5001
    upstreams: ["*"]
    exclude: [registry.k8s.io]
    dial_timeout: 2s

- name: Remove the mirror from the configuration
  k8scr.core.k8scr_mirror:
    runtime: containerd
    state: absent
"""

RETURN = r"""
files:
  description: The configuration files, each with the action that was taken or, in check mode, is planned.
  returned: success
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
  description: Backups of the changed files with entries of administrators.
  returned: success
  type: list
  elements: str
  sample: [/etc/containerd/certs.d/docker.io/hosts.toml.4711.2026-11-24@12:00:00~]
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.mirror import (
    MIRROR_ARGUMENT_SPEC,
    MIRROR_RULES,
    run_mirror,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.redacting_module import run_local_module


def main() -> None:
    """Run the module."""
    run_local_module(MIRROR_ARGUMENT_SPEC, run_mirror, **MIRROR_RULES)


if __name__ == "__main__":
    main()
