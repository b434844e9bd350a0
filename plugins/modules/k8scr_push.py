#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_push
short_description: Push images to a cluster's registry through the API server
version_added: 0.1.0
description:
  - Pushes OCI and Docker images to a registry in a Pod. All requests go through the Pod proxy of the Kubernetes API
    server. Users need permission for C(pods/proxy) on the registry's port. A registry of the role
    P(k8scr.core.registry#role) also requires C(get) on the Secret with its write path.
  - Images are identified by digest. An existing image costs one request, or two if its source has no manifests, as in
    Docker archives and engines. None of its layers is read.
  - Artifacts such as Helm charts are pushed like images. Nondistributable layers with download URLs are not pushed.
  - The tag is set last, so clients never see an incomplete image. If a garbage collection of the registry deletes
    content of an image during the push, only that content is uploaded again.
  - If M(k8scr.core.k8scr_delivered_names) listed the images of the registry, the images of the task are added to the
    list at its end, also those that existed before. If the user may not change the list, the module warns. After
    another failure the task fails, and the images stay in the registry.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.registry.pod
  - k8scr.core.registry
  - k8scr.core.registry.images
  - k8scr.core.sources
  - k8scr.core.sources.upstreams
  - k8scr.core.docker_daemon
  - k8scr.core.progress
  - k8scr.core.attributes.copies
  - k8scr.core.attributes
  - k8scr.core.attributes.images
  - k8scr.core.attributes.cluster
options:
  mount_from:
    description: Other repositories of the cluster's registry to mount blobs from, as in V(team/base). By default, blobs
      are mounted from the repositories of the same task, and from those to which the same user pushed the image before
      under another name. Set it if other repositories share blobs with the images. Mounted blobs are not uploaded.
    type: list
    elements: str
    default: []
  compression:
    description:
      - How to compress uncompressed layers during the upload. The default is V(auto). It applies to Docker archives and
        engines. Compressed layers stay unchanged. All content and all digests of OCI layouts, OCI archives and other
        registries stay unchanged too.
      - V(auto) and V(gzip) are gzip at its fastest level, with the Python library C(isal) if the host that runs the
        module has it, and with Python's own C(zlib) otherwise. C(isal) takes a quarter of the time.
      - V(zstd) is supported by current runtimes. It requires Python 3.14 or the Python library C(zstandard).
      - V(none) uploads layers uncompressed. Set it if the network is faster than the compression, which is about 65 MB
        a second for each processor with C(zlib) and 250 MB with C(isal). The registry and the connection to each node
        then carry more than twice as much data.
      - Compression does not change the identity of an image. An existing image is not pushed again, and a missing image
        reuses the registry's existing layers with their compression.
    type: str
    choices: [auto, none, gzip, zstd]
    default: auto
  require_space:
    description:
      - Whether to fail before the first upload if the registry has too little space for the missing images. By default,
        the module shows a warning and uploads. It then reads the images in the registry only if the upload is larger
        than one percent of the capacity. Set this option if a full storage would harm other users.
      - The free space is at most the capacity minus the size of all images in the registry. The capacity is the size
        limit of an C(emptyDir) or the size of a PersistentVolumeClaim; users need C(get) on the Pod and claim. If it
        is unknown, the task fails unless all images exist. Layers to compress count with their uncompressed size.
    type: bool
    default: false
seealso:
  - module: k8scr.core.k8scr_pull
"""

EXAMPLES = r"""
- name: Push images of an archive, the Docker engine and an OCI layout, the last one under another name
  k8scr.core.k8scr_push:
    images:
      - docker-archive:/media/app/app.tar
      - crossplane/crossplane:v1.2.1
      - source: oci:/media/app/layout:api
        name: registry.example.com/team/api:1.2

- name: Push an image built with Podman under another name
  k8scr.core.k8scr_push:
    images:
      - source: docker-daemon:localhost/api:dev
        name: registry.example.com/team/api:1.2
    docker_host: unix:///run/podman/podman.sock
    tmp_dest: /srv/scratch

- name: Show what a push would upload
  k8scr.core.k8scr_push:
    images:
      - /media/app/app.tar
      - oci-archive:/media/app/proxy.tar
  check_mode: true
  diff: true
  register: plan

- name: Limit the bandwidth, mount the blobs of another repository, and upload only if there is enough space
  k8scr.core.k8scr_push:
    images:
      - oci:/media/app/layout
    bandwidth: 5M
    mount_from: [team/base]
    require_space: true

- name: Push many images and print a line about the transfer every 30 seconds, also on a terminal
  k8scr.core.k8scr_push:
    images:
      - /media/app
    progress: lines
    progress_interval: 30

- name: Copy images from other registries, one with its signatures and SBOMs, and record their digests
  k8scr.core.k8scr_push:
    images:
      - docker://docker.io/library/busybox:1.36
      - docker://images.example.net/team/web:2.1
      - source: docker://registry.example.com:5000/team/api:1.2
        name: registry.example.com/team/api:1.2
        referrers: true
    upstreams:
      - host: docker.io
        mirrors: [mirror.example.com/docker-hub]
      - host: registry.example.com:5000
        username: puller
        password: "{{ registry_password }}"
        ca_cert: /etc/ssl/example-ca.pem
      - host: images.example.net
        client_cert: /etc/ssl/bastion.pem
        client_key: /etc/ssl/private/bastion-key.pem
    lock: "{{ playbook_dir }}/images.lock.json"

- name: Copy the last three releases of version 1 without candidates, and record their tags and digests
  k8scr.core.k8scr_push:
    images:
      - source: docker://registry.example.com/team/api
        tags:
          semver: ">=1.2 <2"
          exclude: -debug$
          newest: 3
        platforms: [linux/amd64]
    lock: "{{ playbook_dir }}/images.lock.json"

- name: Push the archive of a Helm chart, for helm install oci://…/charts/app
  k8scr.core.k8scr_push:
    images:
      - source: chart:/media/app/app-1.2.0.tgz
        name: registry.example.com/charts/app:1.2.0

- name: Push only the platforms of the nodes
  k8scr.core.k8scr_push:
    images:
      - source: docker://docker.io/library/busybox:1.36
        platforms: [linux/amd64]
      - source: oci:/media/app/layout:api
        platforms: [linux/amd64, linux/arm64]

- name: Push an identical image to another cluster, even if its tag has moved
  k8scr.core.k8scr_push:
    images:
      - docker://docker.io/library/busybox:1.36
    lock: "{{ playbook_dir }}/images.lock.json"
    locked: true
    context: production

- name: Push an archive uncompressed over a fast network, to the classic Pod of k8scr
  k8scr.core.k8scr_push:
    images:
      - docker-archive:/media/app/app.tar
    compression: none
    namespace: default
    registry: k8scr
    registry_port: 80

- name: Push only images with a signature of the team, and the tools without a signature
  k8scr.core.k8scr_push:
    images:
      - docker://registry.example.com/team/api:1.2
      - docker-archive:/media/tools/tools.tar
    verify:
      - match: registry.example.com/team/*
        cosign_key: /etc/keys/team.pub
      - match: docker.io/library/tools:*
        allow: unsigned

- name: Push an image that a workflow of GitHub signed without a key
  k8scr.core.k8scr_push:
    images:
      - docker://ghcr.io/example/web:2.1
    verify:
      - match: ghcr.io/example/*
        identity: https://github\.com/example/web/\.github/workflows/release\.yml@refs/tags/.*
        issuer: https://token.actions.githubusercontent.com
        trusted_root: /etc/sigstore/trusted_root.json
"""

RETURN = r"""
images:
  description: One entry for each image, in the given order.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Full name of the image.
      type: str
      sample: registry.example.com/team/api:1.2
    source:
      description: Source of the image.
      type: str
      sample: oci:/media/app/layout:api
    repository:
      description: Repository in the cluster's registry.
      type: str
      sample: team/api
    tag:
      description: Tag of the image; empty if its name has none.
      type: str
      sample: "1.2"
    target:
      description: Repository and tag, or repository and digest.
      type: str
      sample: team/api:1.2
    subject:
      description: Digest of the manifest to which a referrer refers; only for referrers.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    verified:
      description: The verified signature of the image; only with O(verify), and missing if the policy allows unsigned
        images. It has the pattern of the policy (C(match)), the option that set its requirement (C(by)), the verified
        digest (C(digest)), which differs from the image's digest if O(images[].platforms) reduces the index, and the
        tag or referrer with the signature (C(signature)).
      type: dict
      sample:
        match: registry.example.com/team/*
        by: cosign_key
        digest: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
        signature: tag sha256-4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1.sig
    digest:
      description: Digest in the registry; empty if the image failed, and in check mode if layers would be compressed.
      type: str
      sample: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    digest_before:
      description: Previous digest of the tag; empty if the tag was missing. Without a tag, the digest if it existed.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    changed:
      description: Whether the tag was set or changed.
      type: bool
      sample: true
    present:
      description: Number and bytes of the existing blobs.
      type: dict
      sample: {blobs: 3, bytes: 31357624}
    mounted:
      description: Number and bytes of the blobs mounted from other repositories of the registry, or in check mode of
        those to mount. If the registry does not mount a blob, it is uploaded.
      type: dict
      sample: {blobs: 1, bytes: 2811478}
    sent:
      description: Number and bytes of the uploaded blobs, or in check mode of those to upload. In check mode, layers to
        compress count with their uncompressed size.
      type: dict
      sample: {blobs: 1, bytes: 1532}
    blobs:
      description: The blobs of the missing manifests, each with the action that was taken. A layer that was compressed
        during an upload, now or in an earlier run, has its uncompressed digest in C(uncompressed). In check mode, a
        layer to compress has an empty C(digest) and its uncompressed C(size).
      type: list
      elements: dict
      sample:
        - digest: sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1
          size: 1532
          action: sent
        - digest: sha256:1d9ae0bd2f3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2
          size: 29124181
          action: sent
          uncompressed: sha256:7c9d20b9b6cda1c58bc4f9d6c401386786f584437abbe87e58910f8a9a15386b
    referrers:
      description: Referrers of the image, such as signatures; missing if the source has none, and if they were not
        looked up, as for an unchanged image with O(images[].referrers=auto).
      type: dict
      contains:
        copied:
          description: Number of its referrers that the destination has after the task.
          type: int
          sample: 2
        left_out:
          description: Reasons why other referrers were not copied, with their number if it is known.
          type: list
          elements: str
          sample: ["1 referrer: the referrers of the image cannot be stored: the registry rejects them"]
    error:
      description: Reason for the failure of the image, if it failed.
      type: str
      sample: /media/app/layout does not exist. Sources are read on the host that runs the module; check the path there.
selections:
  description: The selected tags of each entry with O(images[].tags).
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: Source of the images.
      type: str
      sample: docker://registry.example.com/team/api
    tags:
      description: The selected tags, the newest version first.
      type: list
      elements: str
      sample: [v1.10.1, v1.10.0, v1.9.0]
    left_out:
      description: Number of the other tags by reason. C(unmatched) ones do not match the patterns, C(unversioned) ones
        are not versions, C(prereleases) and C(variants) have a suffix, C(out_of_range) ones do not satisfy the range,
        C(shorter) ones are other names of longer versions, and C(older) ones are older than the newest.
      type: dict
      sample: {unversioned: 2, prereleases: 4, out_of_range: 11, older: 7}
retries:
  description: Retried requests, each with the reason and the number of retries.
  returned: always
  type: list
  elements: dict
  sample:
    - what: blob sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1 to team/api
      why: the connection to the API server 192.0.2.1:6443 was interrupted
      times: 1
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import run_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_settings import PUSH_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.push import PUSH_EMPTY_RESULT, run_push
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.source_settings import SOURCES_RULES


def main() -> None:
    """Run the module."""
    run_module(PUSH_ARGUMENT_SPEC, run_push, empty_result=PUSH_EMPTY_RESULT, **SOURCES_RULES)


if __name__ == "__main__":
    main()
