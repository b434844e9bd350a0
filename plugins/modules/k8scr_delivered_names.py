#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_delivered_names
short_description: List the images of a cluster's registry in a ConfigMap
version_added: 0.1.0
description:
  - Creates the list of delivered names, a ConfigMap with the tags and digests that a registry in a Pod has. The
    admission policy of the role P(k8scr.core.image_policy#role) reads it with C(image_policy_only_delivered), because a
    policy cannot send requests to the registry. The role runs this module.
  - The name of the ConfigMap is C(NAME-delivered) for the Pod C(NAME-0). While it exists,
    M(k8scr.core.k8scr_push), M(k8scr.core.k8scr_image) and M(k8scr.core.k8scr_prune) update it.
  - If the list exists, the module adds the images that are missing in it, and removes those that the registry does not
    have. Run it after other clients changed the registry, after the registry lost its images, or after a prune was
    interrupted.
  - Users need C(get), C(create), C(patch) and C(delete) on C(configmaps) in the registry's namespace, and C(get) on
    C(pods/proxy) for the registry's read-only port.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.registry.pod
  - k8scr.core.attributes
  - k8scr.core.attributes.pod
  - k8scr.core.attributes.cluster
options:
  state:
    description: Whether the list exists. With V(present), the default, it is created or updated. With V(absent), it is
      deleted, and other modules no longer update it.
    type: str
    choices: [present, absent]
    default: present
  registry_port:
    description: Port on which the registry serves pulls, from V(1) to V(65535). The default is the read-only port of
      the role P(k8scr.core.registry#role). Set it for a registry with a single port.
    type: int
    default: 5001
notes:
  - Each key of the ConfigMap is the repository of an image in the registry, with C(._) in place of each slash. Its
    value has the tags of the repository and the digests of its images, separated by spaces. A platform's digest of an
    index is not in the list.
  - A ConfigMap has up to 1 MiB, which is enough for about 12,000 images. A repository whose key is longer than 253
    characters is not in the list; the module warns about it.
seealso:
  - module: k8scr.core.k8scr_push
  - module: k8scr.core.k8scr_prune
"""

EXAMPLES = r"""
- name: List the images of the registry for the image policy
  k8scr.core.k8scr_delivered_names:

- name: Delete the list
  k8scr.core.k8scr_delivered_names:
    state: absent
"""

RETURN = r"""
config_map:
  description: Name of the ConfigMap, which is in the namespace of the registry.
  returned: success
  type: str
  sample: k8scr-delivered
names:
  description: Number of tags and digests in the list.
  returned: success
  type: int
  sample: 42
retries:
  description: Retried requests, each with the reason and the number of retries.
  returned: always
  type: list
  elements: dict
  sample:
    - what: change the ConfigMap k8scr-delivered in namespace k8scr
      why: the connection to the API server 192.0.2.1:6443 was interrupted
      times: 1
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import run_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.delivered_names import (
    DELIVERED_NAMES_ARGUMENT_SPEC,
    DELIVERED_NAMES_EMPTY_RESULT,
    run_delivered_names,
)


def main() -> None:
    """Run the module."""
    run_module(DELIVERED_NAMES_ARGUMENT_SPEC, run_delivered_names, empty_result=DELIVERED_NAMES_EMPTY_RESULT)


if __name__ == "__main__":
    main()
