# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tags
short_description: Select tags of a repository in a registry
version_added: 0.1.0
author:
  - k8scr.core contributors (@k8scr)
description:
  - Lists the tags of a repository and selects some of them by version, by pattern and by number, with the rules that
    O(k8scr.core.k8scr_push#module:images[].tags) has. Look at a selection with this lookup before a task copies it.
  - Only the list of tags is requested, on the controller. No manifest is read.
requirements:
  - requests
extends_documentation_fragment:
  - k8scr.core.sources.upstreams
options:
  _terms:
    description: Repositories, each as in C(registry.example.com/team/api), with or without C(docker://) before it.
    type: list
    elements: str
    required: true
  semver:
    description:
      - Ranges of versions to select, as in V(>=1.2 <2). Separate the comparisons that must all be satisfied with
        spaces or commas, and alternatives with C(||), or write a list of alternatives. By default, all versions
        are selected.
      - The operators are C(=), C(!=), C(>), C(>=), C(<), C(<=), C(~) and C(^). V(1.2), V(1.2.x) and V(~1.2.0)
        select all versions 1.2, V(^1.2) selects 1.2 and later versions 1, and V(1.2 - 1.4) both ends too. A bound
        with fewer numbers includes all others, so V(<=1.2) includes 1.2.7.
      - A version may begin with C(v), and may have one to eight numbers, as calendar versions do. C(_) begins build
        metadata, because tags cannot contain C(+). Other tags, such as V(latest), have no version.
      - Pre-releases, such as 1.2.0-rc.1, are selected only by a range with a pre-release, as in V(>=1.2.0-0 <2).
        Variants, such as 1.2.0-alpine, are selected only by a range with that suffix, as in V(>=1.2.0-alpine), or
        with O(match).
    type: raw
  match:
    description: Regular expression of Python that a whole tag must match, as in V(v?[0-9.]+). By default, all
      tags match. Avoid nested repetitions, which can take very long.
    type: raw
  exclude:
    description: Regular expressions of Python that no part of a tag may match, as in V(-debug$), as a string or a list.
      By default, no tag is excluded.
    type: raw
  newest:
    description:
      - Number of newest versions to select, from V(1) to V(100000). By default, all are selected.
      - Tags are compared as versions, and each variant that O(match) selects is counted alone. Tags of equal
        versions, such as V(v1.2.3) and V(1.2.3), count as one and are all selected. A shorter tag such as V(1.2) is
        not selected next to a longer one such as V(1.2.3), because it usually names the same image.
      - The order of tags says nothing about the time when an image was made.
    type: int
  at_most:
    description: Largest number of tags of the repository, from V(1) to V(100000). More selected tags are an error that
      lists them. The default is V(20). Increase it if you need more tags.
    type: int
    default: 20
  timeout:
    description: Seconds without data after which a connection is considered lost, from V(1) to V(2147483). The default
      is V(60).
    type: int
    default: 60
  retry_timeout:
    description: Seconds to keep retrying a failing request, from V(0) to V(2147483). The default is V(120). Until the
      registry has responded, only three attempts are made, so that a wrong address fails quickly.
    type: int
    default: 120
notes:
  - C(query) returns a list. C(lookup) joins the tags with commas.
seealso:
  - module: k8scr.core.k8scr_push
"""

EXAMPLES = r"""
- name: Show the last three releases of version 1
  ansible.builtin.debug:
    msg: "{{ query('k8scr.core.tags', 'registry.example.com/team/api', semver='>=1.2 <2', newest=3) }}"

- name: Show the newest release with a suffix, and the newest pre-release
  ansible.builtin.debug:
    msg:
      - "{{ query('k8scr.core.tags', 'nginx', match='.*-alpine', newest=1) }}"
      - "{{ query('k8scr.core.tags', 'registry.example.com/team/api', semver='>=2.0.0-0', newest=1) }}"

- name: Push the newest release under its own tag and as the tag stable
  vars:
    repository: registry.example.com/team/api
    newest: "{{ query('k8scr.core.tags', repository, newest=1, upstreams=upstreams) | first }}"
    upstreams:
      - host: registry.example.com
        username: puller
        password: "{{ registry_password }}"
  k8scr.core.k8scr_push:
    images:
      - "docker://{{ repository }}:{{ newest }}"
      - source: "docker://{{ repository }}:{{ newest }}"
        name: "{{ repository }}:stable"
    upstreams: "{{ upstreams }}"
"""

RETURN = r"""
_raw:
  description: The selected tags, the newest version first. Tags without a version follow in the order of their names.
    The tags of several repositories follow each other.
  type: list
  elements: str
  sample: [v1.10.1, v1.10.0, v1.9.0]
"""

from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.tags import find_tags
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import K8scrError


class LookupModule(LookupBase):
    """Select tags."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Return the selected tags; see :meth:`LookupBase.run`."""
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return find_tags(terms, kwargs)
        except K8scrError as error:
            raise AnsibleLookupError(str(error)) from None
