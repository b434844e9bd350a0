#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_carry
short_description: Save and restore the images of a registry whose Pod is replaced
version_added: 0.1.0
description:
  - Saves all tagged images of a cluster's registry to a folder on the host that runs the module, and restores them.
  - The role P(k8scr.core.registry#role) runs the module to replace the Pod of a registry that stores its images in it.
  - The folder is an OCI layout in the user's cache, one for each registry. The next run resumes an interrupted one.
  - Images without a tag are not saved, because registries do not list them. M(k8scr.core.k8scr_push) sets a tag for
    images that are pushed by digest.
  - Users need C(get) on the StatefulSet, and permissions to pull for V(saved) or to push for V(restored).
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
    description: Direction of the copy. V(saved) copies the images from the registry to the folder. V(restored) copies
      the images back to the registry and deletes the folder. Existing tags of the registry keep their images. If the
      folder is missing, nothing changes.
    type: str
    choices: [saved, restored]
    required: true
seealso:
  - module: k8scr.core.k8scr_pull
"""

EXAMPLES = r"""
- name: Save the images through the read-only port
  k8scr.core.k8scr_carry:
    state: saved
    registry_port: 5001

- name: Restore the images after the Pod was replaced
  k8scr.core.k8scr_carry:
    state: restored
"""

RETURN = r"""
images:
  description: The copied images, in the format of M(k8scr.core.k8scr_pull).
  returned: always
  type: list
  elements: dict
  sample:
    - name: team/api:1.2
      target: team/api:1.2
      changed: true
      digest: sha256:4bcf63d4d5d4f8d1d1a2c8c7fcd4eb8aaa5e7b1e0b6e4ad8b0e0a1ff2c7f4b11
      digest_before:
path:
  description: Folder of the saved images; empty if the cluster has no registry.
  returned: always
  type: str
  sample: /root/.cache/k8scr/carried/0d7ef5a2-7d2c-4a8c-9c7b-6a7cde4c0a51
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.carry import (
    CARRY_ARGUMENT_SPEC,
    CARRY_EMPTY_RESULT,
    run_carry,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import run_module


def main() -> None:
    """Run the module."""
    run_module(CARRY_ARGUMENT_SPEC, run_carry, empty_result=CARRY_EMPTY_RESULT)


if __name__ == "__main__":
    main()
