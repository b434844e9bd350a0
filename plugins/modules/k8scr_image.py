#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_image
short_description: Tag, copy and delete images in a cluster's registry
version_added: 0.1.0
description:
  - Gives an image of a registry in a Pod another name, in the same or in another repository, or deletes it. All
    requests go through the Pod proxy of the Kubernetes API server.
  - A copy to another repository mounts the blobs, so the registry reads and stores nothing again. Only manifests pass
    the network. A registry that does not mount blobs, such as go-containerregistry, does not need it, because all of
    its repositories share their blobs. If a registry does not mount a blob for another reason, the blob is downloaded
    and uploaded. The result counts it as C(sent).
  - A deletion frees no space by itself. The registry's garbage collection deletes blobs that no image uses.
  - Users need permission for C(pods/proxy) on the registry's write port. O(state=present) requires C(get), C(update)
    and, for another repository, C(create). O(state=absent) requires C(get) and C(delete), and C(update) for a tag in
    distribution 2.8. The Roles C(NAME-push) and C(NAME-prune) of the role P(k8scr.core.registry#role) allow them, and
    C(get) on the Secret with the write path.
  - If M(k8scr.core.k8scr_delivered_names) listed the images of the registry, a new name is added to the list, and a
    name is removed before it is deleted. A digest is removed with the image of that digest.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.registry.pod
  - k8scr.core.registry
  - k8scr.core.attributes.copies
  - k8scr.core.attributes
  - k8scr.core.attributes.pod
  - k8scr.core.attributes.cluster
options:
  name:
    description:
      - Name of the image to create or to delete, as in C(registry.example.com/team/api:stable). Without a tag and a
        digest, the tag is C(latest).
      - To create an image without a tag, write its digest in place of the tag. An image in O(from) with another digest
        is an error.
      - To delete an image with all its tags, write its digest in place of the tag, as in
        C(registry.example.com/team/api@sha256:…). If a name has a tag and a digest, the tag is deleted only if it has
        that digest.
    type: str
    required: true
  from:
    description: Name of the existing image in the registry, with a tag or a digest. It is required for
      O(state=present), and otherwise ignored.
    type: str
  state:
    description:
      - Whether the image should exist. The default is V(present), which gives the image in O(from) the name in O(name).
        A tag that has another digest is moved. An index is copied with all its platforms, and all digests stay
        unchanged. If the name has that digest already, the task costs one request for each name.
      - V(absent) deletes the image. A name with a tag deletes that tag. Its manifest and the manifest's other tags
        stay. The module verifies this after the deletion. A tag whose manifest is missing or cannot be read is deleted
        too, unless the name also has a digest.
      - distribution 3 and go-containerregistry delete a tag by its name. distribution 2.8 deletes by digest only,
        together with all tags of the digest. There, the module moves the tag to an empty index that no other tag has,
        and deletes that index. If the task is interrupted in between, clients receive an empty index for the tag. The
        next run deletes it.
      - A name with a digest deletes the manifest with all its tags. The registry must list its tags, and each tag of
        the repository costs a request. If a tagged index in the repository refers to the manifest, the task fails and
        names the tag, because the index would be incomplete. The platforms of a deleted index, and the referrers of an
        image, stay until they are deleted themselves or by garbage collection.
      - A registry of the role P(k8scr.core.registry#role) allows deletion with C(registry_delete).
    type: str
    choices: [present, absent]
    default: present
  referrers:
    description: Whether O(state=present) also copies the referrers of the image to another repository, such as
      signatures, attestations and SBOMs, and their own referrers. By default, they are not copied. Each referrer has
      its own entry in the result, after the image's.
    type: bool
    default: false
seealso:
  - module: k8scr.core.k8scr_info
  - module: k8scr.core.k8scr_prune
  - module: k8scr.core.k8scr_push
"""

EXAMPLES = r"""
- name: Give a tested image another tag
  k8scr.core.k8scr_image:
    name: registry.example.com/team/api:stable
    from: registry.example.com/team/api:1.2

- name: Copy an image with its signatures to another repository, and show what would change
  k8scr.core.k8scr_image:
    name: registry.example.com/production/api:1.2
    from: registry.example.com/team/api@sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    referrers: true
  check_mode: true
  diff: true

- name: Delete obsolete tags
  k8scr.core.k8scr_image:
    name: "registry.example.com/team/api:{{ item }}"
    state: absent
  loop: ["1.0", "1.1"]

- name: Delete an image with all its tags
  k8scr.core.k8scr_image:
    name: registry.example.com/team/api@sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    state: absent
"""

RETURN = r"""
images:
  description: The entry of the image, followed by one entry for each of its referrers.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Full name of the image.
      type: str
      sample: registry.example.com/team/api:stable
    source:
      description: Full name of the image in O(from); only for O(state=present).
      type: str
      sample: registry.example.com/team/api:1.2
    repository:
      description: Repository in the cluster's registry.
      type: str
      sample: team/api
    tag:
      description: Tag of the image.
      type: str
      sample: stable
    target:
      description: Repository and tag, or repository and digest.
      type: str
      sample: team/api:stable
    subject:
      description: Digest of the manifest to which a referrer refers; only for referrers.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    digest:
      description: Digest of the manifest or index with this name after the task; empty if the image was deleted or
        failed.
      type: str
      sample: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    digest_before:
      description: Previous digest; empty if the image was missing, or if the registry cannot read the tag's manifest.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    changed:
      description: Whether the tag was set, moved or deleted, or the image was deleted.
      type: bool
      sample: true
    present:
      description: Number and bytes of the existing blobs; only for O(state=present).
      type: dict
      sample: {blobs: 4, bytes: 34169102}
    mounted:
      description: Number and bytes of the blobs mounted from the repository of O(from), or in check mode of those to
        mount; only for O(state=present).
      type: dict
      sample: {blobs: 0, bytes: 0}
    sent:
      description: Number and bytes of the blobs that the registry did not mount, so that they were downloaded and
        uploaded; only for O(state=present).
      type: dict
      sample: {blobs: 0, bytes: 0}
    blobs:
      description: The blobs of the missing manifests, each with the action that was taken; only for O(state=present).
      type: list
      elements: dict
      sample:
        - digest: sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1
          size: 1532
          action: mounted
    tags:
      description: The deleted tags, or in check mode those to delete; only for O(state=absent).
      type: list
      elements: str
      sample: ["1.0"]
    method:
      description: How the registry deleted the image; only for O(state=absent). V(tag) is by the name of the tag.
        V(replaced) is by moving the tag to an empty index, which was then deleted by its digest. V(digest) is by the
        digest of the image. It is empty in check mode and if nothing was deleted.
      type: str
      sample: tag
    referrers:
      description: Referrers of the image, such as signatures; missing if it has none, and without O(referrers).
      type: dict
      contains:
        copied:
          description: Number of its referrers that the repository has after the task.
          type: int
          sample: 2
        left_out:
          description: Always empty, because the task fails if a referrer cannot be copied.
          type: list
          elements: str
          sample: []
    error:
      description: Reason for the failure of the image, if it failed.
      type: str
      sample: repository team/api in the registry in Pod k8scr/k8scr-0 does not have the image
        registry.example.com/team/api:1.2. Push it first, or check its name and the option qualify.
retries:
  description: Retried requests, each with the reason and the number of retries.
  returned: always
  type: list
  elements: dict
  sample:
    - what: tag 1.0 of repository team/api in the registry in Pod k8scr/k8scr-0 cannot be deleted
      why: the connection to the API server 192.0.2.1:6443 was interrupted
      times: 1
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import run_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image import (
    IMAGE_ARGUMENT_SPEC,
    IMAGE_EMPTY_RESULT,
    IMAGE_RULES,
    run_image,
)


def main() -> None:
    """Run the module."""
    run_module(IMAGE_ARGUMENT_SPEC, run_image, empty_result=IMAGE_EMPTY_RESULT, **IMAGE_RULES)


if __name__ == "__main__":
    main()
