#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_apply
short_description: Apply Kubernetes objects server-side and wait until they are ready
version_added: 0.1.0
description:
  - Applies the objects of a manifest to a cluster with server-side apply, or deletes them.
  - The API server reports the changes. In check mode, the module uses the API server's dry run.
  - If an object does not become ready, the message includes the reasons that the cluster reports.
  - The collection's roles deploy with this module. It requires no other collection.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.progress
  - k8scr.core.attributes
  - k8scr.core.attributes.cluster
options:
  definition:
    description:
      - The objects, as YAML text with one or more documents, as a dictionary, or as a list of these. The values of
        Secrets are redacted in results, diffs and logs.
      - Text is read as kubectl reads it, for example V(22:30) and V(2026-11-01) as text, and V(0o644) as a number. The
        values of a dictionary in a playbook are read by Ansible, which reads V(22:30) as the number 1350 and V(0o644)
        as text, and writes times in another format. Quote such values, or write the objects as a block of text.
    type: raw
  src:
    description: Path of a YAML or JSON file with the objects, on the host that runs the module. It is read as kubectl
      reads it, in UTF-8, or in UTF-16 with a byte order mark.
    type: path
  state:
    description: State of the objects. With V(present), the default, they are applied in the given order. With
      V(absent), they are deleted in reverse order, together with their dependents.
    type: str
    choices: [present, absent]
    default: present
  namespace:
    description: Namespace of namespaced objects that do not specify one. The default is V(default).
    type: str
    default: default
  force:
    description: Whether to take over fields of other field managers. By default, a conflict is an error that names the
      managers.
    type: bool
    default: false
  keep_existing:
    description: Whether to leave existing objects unchanged. By default, they are updated. Set it for objects that are
      created once, such as a Secret with a generated value.
    type: bool
    default: false
  wait:
    description: Whether to wait until the objects are ready, for example until Pods run and claims are bound, or with
      O(state=absent) until they are deleted. By default, the module waits. In check mode, the module does not wait.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait for all objects together, from V(0) to V(2147483). The default is V(180).
    type: int
    default: 180
seealso:
  - module: k8scr.core.k8scr_push
"""

EXAMPLES = r"""
- name: Apply a file and wait until its Pods run
  k8scr.core.k8scr_apply:
    src: /srv/app/deployment.yaml
    namespace: apps
    wait_timeout: 300

- name: Create a Secret once and keep its value
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

- name: Show which objects of a file would be deleted
  k8scr.core.k8scr_apply:
    src: /srv/app/deployment.yaml
    namespace: apps
    state: absent
  check_mode: true
  diff: true
"""

RETURN = r"""
objects:
  description: One entry for each object, in the order in which they were applied or deleted.
  returned: always
  type: list
  elements: dict
  contains:
    api_version:
      description: API version of the object.
      type: str
      sample: apps/v1
    kind:
      description: Kind of the object.
      type: str
      sample: StatefulSet
    name:
      description: Name of the object.
      type: str
      sample: k8scr
    namespace:
      description: Namespace of the object; empty if it has none.
      type: str
      sample: k8scr
    action:
      description: Action, in check mode the planned one; V(created), V(updated), V(unchanged) or V(deleted).
      type: str
      sample: created
    object:
      description: The object, without status and metadata that the cluster manages. The values of Secrets are redacted.
      type: dict
      sample:
        apiVersion: v1
        kind: Namespace
        metadata:
          name: apps
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.apply import (
    APPLY_ARGUMENT_SPEC,
    APPLY_EMPTY_RESULT,
    APPLY_REDACTIONS,
    APPLY_RULES,
    run_apply,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import run_module


def main() -> None:
    """Run the module."""
    run_module(APPLY_ARGUMENT_SPEC, run_apply, redact=APPLY_REDACTIONS, empty_result=APPLY_EMPTY_RESULT, **APPLY_RULES)


if __name__ == "__main__":
    main()
