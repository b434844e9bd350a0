#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_info
short_description: List and verify the images in a cluster's registry
version_added: 0.1.0
description:
  - Lists the repositories, tags, images and sizes of a registry in a Pod, and verifies whether the images are complete.
    All requests go through the Pod proxy of the Kubernetes API server. Users need the permission C(get) on
    C(pods/proxy) for the registry's read-only port. Nothing is written.
  - Each manifest and blob is counted once, also if several images or repositories contain it. The sum is the size of
    the registry's storage, without the data that a garbage collection would delete.
  - Images without a tag are found only if O(images), O(lock), an index, or with O(usage) a workload names them, or with
    O(referrers) a list of referrers. No API of registries lists the others.
  - A tag or image that cannot be read does not end the task. It is returned in RV(incomplete).
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.registry.pod
  - k8scr.core.registry
  - k8scr.core.attributes
  - k8scr.core.attributes.pod
  - k8scr.core.attributes.cluster
attributes:
  diff_mode:
    support: none
options:
  registry_port:
    description: Port on which the registry serves pulls, from V(1) to V(65535). The default is the read-only port of
      the role P(k8scr.core.registry#role). Set it for a registry with a single port.
    type: int
    default: 5001
  repositories:
    description:
      - Repositories to list, as shell patterns such as V(team/*). The asterisk also matches slashes. By default, all
        repositories are listed, or none if O(images) is set. The module warns about patterns that match no image.
      - The list of all repositories is an API that not every registry has. Repositories without a pattern are listed
        without it.
    type: list
    elements: str
  images:
    description: Images to list, with a tag or a digest, as in C(registry.example.com/team/api:1.2). Each one that does
      not exist is returned in RV(missing).
    type: list
    elements: str
  lock:
    description: Path of a lock file, as M(k8scr.core.k8scr_push) writes it, on the host that runs the module. Its
      images are listed too, and each one that is missing or has another digest is returned in RV(missing). An
      image that was pushed with C(platforms) can have another digest than the complete one in the lock file.
    type: path
  usage:
    description:
      - Whether to find the images that the workloads of all namespaces use. By default, RV(unused) is empty.
      - Workloads are Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and CronJobs. The names of their
        images are looked up without and with the host, as with O(qualify). Names of mirrors match too. With
        O(repositories), only images in the selected repositories are returned in RV(missing), under the original names
        if the role P(k8scr.core.image_policy#role) rewrote them.
      - The digests that nodes report for running images match in the same repositories. If none of these has the
        digest, all repositories with it match.
      - Users need the permission C(list) on these kinds in all namespaces.
    type: bool
    default: false
  verify:
    description:
      - How to verify the images. With V(manifests), the default, all manifests are read and verified. With V(none),
        only the tags are looked up, so that sizes and platforms are unknown; O(lock) and O(usage) are errors.
      - With V(blobs), each blob is also looked up, and its size is compared. With V(content), each blob is also read
        once and its digest is verified. This transfers all data through the API server; limit it with O(bandwidth).
    type: str
    choices: [none, manifests, blobs, content]
    default: manifests
  referrers:
    description: Whether to find the referrers of each image, such as signatures, attestations and SBOMs. By default,
      they are not returned with the image. Referrers with a tag of their own are always returned as images.
    type: bool
    default: false
  labels:
    description: Whether to return the labels and annotations of each image. By default, they are not returned.
    type: bool
    default: false
notes:
  - The capacity requires C(get) on the registry's Pod, and for a claim also on C(persistentvolumeclaims).
  - The module takes about 5 KiB of memory for each image. It lists at most 200000 images, and at most 100000 tags of a
    repository.
seealso:
  - module: k8scr.core.k8scr_image
  - module: k8scr.core.k8scr_prune
  - module: k8scr.core.k8scr_push
"""

EXAMPLES = r"""
- name: List all images
  k8scr.core.k8scr_info:
  register: stored

- name: List all images of a registry with a single port
  k8scr.core.k8scr_info:
    registry_port: 5000
  register: stored

- name: Verify every byte of a team's images, at 20 MB a second
  k8scr.core.k8scr_info:
    repositories: [team/*]
    verify: content
    bandwidth: 20M
  register: stored

- name: Fail if the registry does not have all images of the lock file
  k8scr.core.k8scr_info:
    images: []
    lock: images.lock.json
    verify: blobs
  register: stored
  failed_when: stored.missing != [] or stored.incomplete != []

- name: Fail if a workload uses an image of these repositories that the registry does not have
  k8scr.core.k8scr_info:
    repositories: [team/*]
    usage: true
  register: stored
  failed_when: stored.missing != [] or stored.incomplete != [] or stored.unseen != []

- name: Find the signatures and the labels of an image
  k8scr.core.k8scr_info:
    images: [registry.example.com/team/api:1.2]
    referrers: true
    labels: true
  register: stored
"""

RETURN = r"""
registry:
  description: Properties of the registry; a property that is not known is V(null).
  returned: success
  type: dict
  contains:
    software:
      description: Implementation of the registry; V(distribution 3), V(distribution 2) or V(go-containerregistry).
      type: str
      sample: distribution 3
    delete:
      description: Whether images can be deleted, also if not through this port. It is known for a registry of the role
        with C(registry_delete), and for go-containerregistry.
      type: bool
      sample: true
    referrers_api:
      description: Whether the registry has the referrers API. It is not known if no image was listed.
      type: bool
      sample: false
    read_only:
      description: Whether the registry rejects writes on this port.
      type: bool
      sample: true
totals:
  description: Totals of the listed images.
  returned: success
  type: dict
  contains:
    repositories:
      description: Number of repositories.
      type: int
      sample: 12
    tags:
      description: Number of tags.
      type: int
      sample: 87
    manifests:
      description: Number of different manifests and indexes; V(null) with O(verify=none).
      type: int
      sample: 214
    blobs:
      description: Number of different blobs; V(null) with O(verify=none).
      type: int
      sample: 731
    bytes:
      description: Size of all different manifests and blobs; V(null) with O(verify=none).
      type: int
      sample: 9318440123
    capacity:
      description: Size of the registry's storage in bytes; V(null) if it is not known.
      type: int
      sample: 21474836480
    capacity_source:
      description: Kind of the storage, from the Pod's volumes; V(emptyDir), V(memory), V(hostPath),
        V(persistentVolumeClaim) or V(unknown).
      type: str
      sample: persistentVolumeClaim
images:
  description: One entry for each manifest or index that has a tag or that was named, by repository.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name in the registry, with the first tag or the digest.
      type: str
      sample: team/api:1.2
    repository:
      description: Repository in the registry.
      type: str
      sample: team/api
    tags:
      description: All tags of the repository with this digest.
      type: list
      elements: str
      sample: ["1.2", "latest"]
    digest:
      description: Digest of the manifest or index.
      type: str
      sample: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    media_type:
      description: Media type of the manifest or index.
      type: str
      sample: application/vnd.oci.image.index.v1+json
    size:
      description: Size of its manifests and blobs in bytes, each counted once; V(null) if they were not read.
      type: int
      sample: 31357624
    created:
      description: Time of creation in RFC 3339, from the image's config, for an index that of its first platform, or
        from the annotation C(org.opencontainers.image.created); V(null) without it.
      type: str
      sample: "2026-03-01T12:00:00Z"
    platforms:
      description: Platforms of the image, each with the digest of its manifest and its size in bytes.
      type: list
      elements: dict
      contains:
        platform:
          description: Operating system, architecture and, if stated, variant.
          type: str
          sample: linux/amd64
        digest:
          description: Digest of the manifest.
          type: str
          sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
        size:
          description: Size of the manifest and its blobs in bytes.
          type: int
          sample: 15678812
    subject:
      description: Digest of the manifest to which the image refers by its tag; V(null) for other images.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    referrers:
      description: Referrers of the image and of its platforms; empty without O(referrers).
      type: list
      elements: dict
      contains:
        digest:
          description: Digest of the referrer.
          type: str
          sample: sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1
        media_type:
          description: Media type of the referrer's manifest.
          type: str
          sample: application/vnd.oci.image.manifest.v1+json
        artifact_type:
          description: Kind of artifact; V(null) if the registry does not state it.
          type: str
          sample: application/vnd.dev.cosign.artifact.sig.v1+json
        tag:
          description: Tag of cosign by which it was found; V(null) if it was found in a list of referrers.
          type: str
          sample: sha256-8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567.sig
        subject:
          description: Digest of the manifest to which it refers.
          type: str
          sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    labels:
      description: Labels of the image, for an index those of its first platform; empty without O(labels).
      type: dict
      sample: {org.opencontainers.image.source: "https://git.example.com/team/api"}
    annotations:
      description: Annotations of the manifest or index; empty without O(labels).
      type: dict
      sample: {org.opencontainers.image.created: "2026-03-01T12:00:00Z"}
    used_by:
      description: Workloads that use the image, or the image to which it refers; empty without O(usage). Pods of
        another workload count as that workload. C(rollback) states whether it is a ReplicaSet without Pods, which its
        Deployment uses after a rollback.
      type: list
      elements: dict
      sample: [{kind: Deployment, namespace: team, name: api, rollback: false}]
    complete:
      description: Whether nothing is missing, damaged or unreadable, as far as O(verify) tells; V(null) with
        O(verify=none).
      type: bool
      sample: true
missing:
  description: Images of O(images) and O(lock) that do not exist in the registry, or that have another digest than in
    the lock file. With O(usage), also the images of workloads that do not exist, cannot be read or have invalid names;
    with O(repositories), only those in the selected repositories.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Full name of the image.
      type: str
      sample: registry.example.com/team/api:1.2
    repository:
      description: Repository in the registry; V(null) if a workload's name is invalid.
      type: str
      sample: team/api
    digest:
      description: Digest in the lock file or in the name; V(null) if it has none.
      type: str
      sample: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    stored:
      description: Digest that the registry has for the name; V(null) if it has none.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    reason:
      description: Reason why nodes cannot pull it.
      type: str
      sample: the registry does not have team/api:1.2
    used_by:
      description: Workloads that use the image, as in RV(images[].used_by); empty without O(usage).
      type: list
      elements: dict
      sample: [{kind: Deployment, namespace: team, name: api, rollback: false}]
incomplete:
  description: Images that are incomplete, damaged or unreadable, and tags and repositories that cannot be read.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name in the registry.
      type: str
      sample: team/api:1.2
    repository:
      description: Repository in the registry.
      type: str
      sample: team/api
    digest:
      description: Digest of the image; V(null) if it is not known.
      type: str
      sample: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    missing:
      description: Digests of the manifests and blobs that the registry does not have.
      type: list
      elements: str
      sample: [sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1]
    damaged:
      description: Digests of the manifests and blobs whose content does not match.
      type: list
      elements: str
      sample: []
    error:
      description: Reason why it cannot be read; V(null) if it can.
      type: str
      sample: manifest sha256:4bcf… cannot be read. Check the registry's log.
unused:
  description: Listed images that no workload uses; empty without O(usage). It is also empty if RV(unseen) is not,
    because any image may be in use then. Images that refer to a used image count as used if their tag names it, as
    those of cosign do. Set O(referrers) to find others.
  returned: success
  type: list
  elements: dict
  sample:
    - repository: team/api
      tags: ["1.1"]
      digest: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
unseen:
  description: Kinds of workloads that the user may not list; empty without O(usage).
  returned: success
  type: list
  elements: dict
  sample:
    - kind: CronJob
      reason: 'cronjobs.batch is forbidden: User "auditor" cannot list resource "cronjobs"'
retries:
  description: Retried requests, each with the reason and the number of retries.
  returned: success
  type: list
  elements: dict
  sample:
    - what: manifest sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1 cannot be read
      why: the connection to the API server 192.0.2.1:6443 was interrupted
      times: 1
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import run_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.info import INFO_ARGUMENT_SPEC, run_info


def main() -> None:
    """Run the module."""
    run_module(INFO_ARGUMENT_SPEC, run_info)


if __name__ == "__main__":
    main()
