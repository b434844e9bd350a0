#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_prune
short_description: Delete the images of a cluster's registry that no rule keeps, and reclaim their space
version_added: 0.1.0
description:
  - Deletes tags from a registry in a Pod, and reclaims the space with the registry's own garbage collector. All
    requests go through the Pod proxy of the Kubernetes API server. The role P(k8scr.core.registry#role) with
    C(registry_delete) allows deletion and runs the collector; its Role C(NAME-prune) has the required permissions.
  - O(keep_used), O(keep_lock), O(keep_last), O(keep_younger) and O(keep) are rules. A tag stays if any of them keeps
    it. All other tags of the selected repositories are deleted. Run the module in check mode with C(--diff) first; it
    lists the tags to delete, the tags to keep with the reasons, and the bytes to reclaim.
  - Rules name images by tag. O(keep), and the names in workloads and lock files, keep only these tags. Rules about the
    content keep all tags of the image; these are O(keep_last), O(keep_younger), and digests in workloads and lock
    files. The content of an image stays as long as one of its tags stays.
  - The images in an index stay with the index. If an index that stays lists an image, only the image's own tag is
    deleted.
  - Signatures, SBOMs and other referrers stay with the image to which they refer and are deleted with it, or if it no
    longer exists. This applies to the lists with the tag C(sha256-DIGEST), and to cosign's tags C(sha256-DIGEST.sig),
    C(.att) and C(.sbom). O(keep_last) and O(keep_younger) do not apply to them.
  - An image in use or in a lock file that has no tag gets the tag C(k8scr-) with the first twelve digits of its digest,
    because garbage collectors delete images without a tag. An image that a workload or a lock file names by
    digest gets it too, because a push can move its other tags before the collection. Later prunes delete that tag by
    the same rules.
  - If the registry cannot read the manifest of a tag to delete, the task fails before anything is deleted, because the
    fault may pass. M(k8scr.core.k8scr_image) deletes a tag whose manifest is damaged.
  - The workloads are listed before the deletion and again afterwards. If a workload that was created meanwhile uses a
    deleted image, its tag is restored before the garbage collection.
  - If M(k8scr.core.k8scr_delivered_names) listed the images of the registry, the names to delete are removed from the
    list first. If that fails, nothing is deleted. Afterwards, names that still exist are added again.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.registry.pod
  - k8scr.core.registry
  - k8scr.core.progress
  - k8scr.core.attributes
  - k8scr.core.attributes.pod
  - k8scr.core.attributes.cluster
options:
  repositories:
    description: Repositories whose images may be deleted, as shell patterns such as V(team/*). The asterisk also
      matches slashes. The default is all. Tags of other repositories stay. The garbage collection covers the whole
      registry, so it also deletes images without a tag in other repositories, unless they are in use with
      O(keep_used=true) or in a file of O(keep_lock).
    type: list
    elements: str
    default: ["*"]
  keep_used:
    description:
      - Whether images that workloads use stay. The default is V(true). Used are the images of all Pods, and of the
        templates of Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and CronJobs, in all namespaces of the
        cluster; also those of ReplicaSets without Pods, which rollbacks need.
      - Users need C(list) on all of these kinds. If one of them cannot be listed, the task fails and nothing is
        deleted. C(registry_usage_subjects) of the role P(k8scr.core.registry#role) grants the permission.
      - With V(false), the garbage collection deletes images without a tag even if a workload uses them. Set
        O(collect=false) too if there may be such images.
      - Only the workloads of this cluster are known. Set other rules if nodes of other clusters pull from the registry.
      - No workload names the pause image of the container runtime, without which a new node cannot start Pods. If nodes
        pull it from the registry, keep it with a pattern in O(keep), such as V(*pause).
    type: bool
    default: true
  keep_lock:
    description: Paths of lock files, as M(k8scr.core.k8scr_push) writes them, on the host that runs the module. The
      names in them stay, in repositories with and without the host, regardless of O(qualify). If a name has another
      digest in the registry, the locked image stays too. Without further rules, the registry is reduced to the images
      of the lock files and those in use.
    type: list
    elements: path
    default: []
  keep_last:
    description:
      - Number of images that stay in each repository, from V(1) to V(1000000). By default, images are not counted.
      - Images with a version in a tag, such as V(1.2.3), V(v2) or V(20260130), are ordered by their highest version.
        Only tags of the same form are compared, so V(1.2.3), V(1.2.3-alpine) and V(1.3.0-rc.1) are counted separately.
        Moving tags such as V(1.2) do not count again if the image has a higher version.
      - All other images, such as those with V(latest) or the hash of a commit, are counted separately by their time of
        creation. Those without a time, and those with the time of the last one that stays, stay as well. This is the
        case for images from reproducible builds, which often all have the year 1970.
      - Tags of referrers, and the tags C(k8scr-DIGITS), do not count.
    type: int
  keep_younger:
    description: Age up to which images stay, as a number with one of the units V(s), V(m), V(h), V(d) and V(w), such as
      V(14d) or V(12h). By default, the age does not matter. It is counted from the image's time of creation, not from
      its push. Images without a time stay. Images from reproducible builds often have the year 1970, so this rule does
      not keep them.
    type: str
  keep:
    description: Names that stay, as shell patterns such as V(platform/*), V(team/api) or V(*:stable). A pattern is
      compared with C(REPOSITORY:TAG) and with C(REPOSITORY), and the asterisk also matches slashes. The module warns
      about patterns that match no image.
    type: list
    elements: str
    default: []
  allow_empty:
    description: Whether all images of the selected repositories may be deleted. By default, the task fails in this case
      and nothing is deleted, because a rule is probably wrong.
    type: bool
    default: false
  collect:
    description:
      - Whether to run the registry's garbage collector afterwards, also if no tag was deleted. The default is V(true).
        Only a collection returns space to the storage, also that of images whose tags were overwritten by pushes.
      - During the collection, nodes can pull. Pushes wait within their C(retry_timeout).
      - A registry without the collector of the role P(k8scr.core.registry#role) is rejected before anything is deleted.
        With V(false), only tags are deleted, and the images can still be pulled by digest until the next collection.
      - If the manifest of an image that stays cannot be read, the task fails before anything is deleted, because the
        collector would fail or delete its blobs. The same applies if another repository has an incomplete index that
        lists a manifest of an image that stays. Images with digests other than SHA-256
        also are an error.
    type: bool
    default: true
  collect_timeout:
    description: Seconds to wait for the garbage collection, from V(1) to V(2147483). The default is V(1800). The
      collection continues in the registry if it takes longer. The kubelet passes on the request within about 90
      seconds; the collection of a large registry on S3 can take many minutes.
    type: int
    default: 1800
notes:
  - Registries of CNCF distribution 2.8 delete by digest only. There, images are deleted together with their manifests,
    so a deleted image cannot be restored if a workload starts to use it meanwhile; the task then fails and names it.
    The space of images whose tags were overwritten is not reclaimed, because its collector cannot be told to delete
    manifests without tags and to keep the images of indexes.
  - A second run with the same rules deletes nothing. It runs the collector again, and reports a change only if that
    freed space. Check mode cannot predict space that only overwritten tags occupied.
  - If the task fails after it began to delete, all images that the rules kept at the start are complete. The message
    names the failure, and RV(images) lists the tags that were deleted before. The next run continues.
seealso:
  - module: k8scr.core.k8scr_info
  - module: k8scr.core.k8scr_image
  - module: k8scr.core.k8scr_push
"""

EXAMPLES = r"""
- name: Show the tags that a prune would delete, and those that stay with the reasons
  k8scr.core.k8scr_prune:
    keep_last: 2
    keep_younger: 14d
    keep:
      - platform/*
      - "*:stable"
  check_mode: true
  diff: true

- name: Keep images in use, the last two versions of each repository and recent images
  k8scr.core.k8scr_prune:
    keep_last: 2
    keep_younger: 14d
  register: pruned

- name: Show the reclaimed space
  ansible.builtin.debug:
    msg: "{{ pruned.images | length }} tags, {{ pruned.images_space_reclaimed | human_readable }}"

- name: Reduce the registry to the images of this release and the previous one, and those in use
  k8scr.core.k8scr_prune:
    keep_lock:
      - images.lock.json
      - previous.lock.json

- name: Empty the repositories of a project without listing workloads, and collect garbage later
  k8scr.core.k8scr_prune:
    repositories:
      - old-project/*
    keep_used: false
    allow_empty: true
    collect: false

- name: Only collect garbage, and wait for up to an hour
  k8scr.core.k8scr_prune:
    keep: ["*"]
    collect_timeout: 3600
    progress: lines
"""

RETURN = r"""
images:
  description: The deleted tags, or in check mode those to delete.
  returned: always
  type: list
  elements: dict
  contains:
    image:
      description: Repository and tag.
      type: str
      sample: team/api:1.0
    digest:
      description: Digest of the manifest or index; empty for a tag without a manifest.
      type: str
      sample: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    size:
      description: Bytes of the image's manifests and blobs, including those that other images have too.
      type: int
      sample: 34169102
    content:
      description: V(deleted) if nothing refers to the image any more, and V(kept) if another tag or an index does.
      type: str
      sample: deleted
images_space_reclaimed:
  description: Bytes of the manifests and blobs that only deleted images had, each counted once. With O(collect=false),
    the next garbage collection reclaims them.
  returned: always
  type: int
  sample: 21458733
kept:
  description: The images that stay; empty if the task fails before it decides.
  returned: always
  type: list
  elements: dict
  contains:
    image:
      description: Repository and tag, or repository and digest of an image without a tag.
      type: str
      sample: team/api:1.2
    digest:
      description: Digest of the manifest or index; empty for a tag whose manifest cannot be read.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    reasons:
      description: All reasons why it stays.
      type: list
      elements: str
      sample:
        - used by Deployment team/api
        - one of the last 2 versions
protected:
  description: The tags C(k8scr-DIGITS) that images got, or in check mode those to add.
  returned: always
  type: list
  elements: str
  sample: ["team/api:k8scr-4bcff63911fc"]
collected:
  description: The garbage collection; empty in check mode, with O(collect=false) and after a failure.
  returned: always
  type: dict
  contains:
    before:
      description: Bytes of all blobs before the collection; empty if the storage does not report them, as S3.
      type: int
      sample: 1458733291
    after:
      description: Bytes of all blobs after the collection.
      type: int
      sample: 1437274558
    seconds:
      description: Seconds for which the registry did not accept pushes.
      type: int
      sample: 3
errors:
  description: The errors that ended the task after it began to delete.
  returned: always
  type: list
  elements: str
  sample: []
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
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.prune import (
    PRUNE_ARGUMENT_SPEC,
    PRUNE_EMPTY_RESULT,
    run_prune,
)


def main() -> None:
    """Run the module."""
    run_module(PRUNE_ARGUMENT_SPEC, run_prune, empty_result=PRUNE_EMPTY_RESULT)


if __name__ == "__main__":
    main()
