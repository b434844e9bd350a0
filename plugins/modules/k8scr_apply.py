#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_apply
short_description: Apply Kubernetes objects, server-side, and wait until they are ready
version_added: 0.1.0
description:
  - Makes a cluster have the objects of a manifest, by server-side apply, or makes it not have them.
  - What changed is what the API server says changed. In check mode it is asked to try everything without doing it.
  - When something does not get ready, the message says why in the cluster's own words.
  - This is what the collection's roles deploy with. It needs no other collection.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.attributes
  - k8scr.core.attributes.cluster
options:
  definition:
    description:
      - The objects, as YAML text with one or many documents, as a dictionary, or as a list of either.
      - The values of Secrets are shown nowhere, neither in results nor in diffs nor in logs.
    type: raw
  src:
    description: A YAML or JSON file with the objects, on the host that runs the task.
    type: path
  state:
    description:
      - With V(present) the objects are applied in the order given.
      - With V(absent) they are deleted in the opposite order, together with what belongs to them.
    type: str
    choices: [present, absent]
    default: present
  namespace:
    description: The namespace of those objects that need one and name none.
    type: str
    default: default
  force:
    description: Whether to take over fields that others manage. Without it a conflict is an error that names them.
    type: bool
    default: false
  keep_existing:
    description: Whether an object that exists is left as it is. Good for a Secret that is made once.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the objects do what they are there for, as Pods that run and claims that are bound; with
        O(state=absent), until they are gone.
      - In check mode nothing is waited for.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait for all of them together.
    type: int
    default: 180
seealso:
  - module: k8scr.core.k8scr_push
"""

EXAMPLES = r"""
- name: Make a namespace
  k8scr.core.k8scr_apply:
    definition:
      apiVersion: v1
      kind: Namespace
      metadata:
        name: apps

- name: Apply a file and wait until its Pods run
  k8scr.core.k8scr_apply:
    src: /srv/app/deployment.yaml
    namespace: apps
    wait_timeout: 300

- name: Make a Secret once and keep its value
  k8scr.core.k8scr_apply:
    definition:
      apiVersion: v1
      kind: Secret
      metadata:
        name: key
        namespace: apps
      stringData:
        key: "{{ lookup('ansible.builtin.password', '/dev/null', length=32) }}"
    keep_existing: true

- name: See what a file would change
  k8scr.core.k8scr_apply:
    src: /srv/app/deployment.yaml
    namespace: apps
  check_mode: true
  diff: true

- name: Take it all away
  k8scr.core.k8scr_apply:
    src: /srv/app/deployment.yaml
    namespace: apps
    state: absent
"""

RETURN = r"""
objects:
  description: One entry for each object, in the order in which they were applied or deleted.
  returned: always
  type: list
  elements: dict
  contains:
    api_version:
      description: Its API version.
      type: str
      sample: apps/v1
    kind:
      description: Its kind.
      type: str
      sample: StatefulSet
    name:
      description: Its name.
      type: str
      sample: k8scr
    namespace:
      description: Its namespace; empty where it has none.
      type: str
      sample: k8scr
    action:
      description: What became of it, or in check mode would; V(created), V(updated), V(unchanged) or V(deleted).
      type: str
      sample: created
    object:
      description: The object as it is, without its status and what the cluster keeps account of. A Secret's values
        are hidden.
      type: dict
      sample:
        apiVersion: v1
        kind: Namespace
        metadata:
          name: apps
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.apply import run_apply
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.run_module import run_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.objects.definitions import (
    read_options,
    redact_definition,
)


def main() -> None:
    """Run the module."""
    argument_spec = {
        "definition": {"type": "raw"},
        "src": {"type": "path"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "namespace": {"type": "str", "default": "default"},
        "force": {"type": "bool", "default": False},
        "keep_existing": {"type": "bool", "default": False},
        "wait": {"type": "bool", "default": True},
        "wait_timeout": {"type": "int", "default": 180},
    }
    run_module(
        argument_spec,
        lambda options, check_mode: run_apply(read_options(options["definition"], options["src"]), options, check_mode),
        redact={"definition": redact_definition},
        mutually_exclusive=[("definition", "src")],
        required_one_of=[("definition", "src")],
    )


if __name__ == "__main__":
    main()
