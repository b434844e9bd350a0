#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_pull
short_description: Pull images from a cluster's registry through the API server
version_added: 0.1.0
description:
  - Pulls images from a registry in a Pod. All requests go through the Pod proxy of the Kubernetes API server. Users
    need the permission C(get) on C(pods/proxy) for the registry's read-only port.
  - If the destination has an image with the same digest, nothing is downloaded or written. This costs one request, or
    some more to select platforms.
  - All data is verified. A destination is replaced only when the new content is complete, so a failed pull leaves it
    unchanged. Folders and archives keep their other images.
  - An existing blob of a folder or an archive is verified before it is used. If it is damaged, it is downloaded again.
    If another image in an archive is damaged, the archive stays unchanged and the error names that image.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.registry.pod
  - k8scr.core.registry
  - k8scr.core.registry.images
  - k8scr.core.docker_daemon
  - k8scr.core.progress
  - k8scr.core.attributes.copies
  - k8scr.core.attributes
  - k8scr.core.attributes.images
  - k8scr.core.attributes.cluster
options:
  registry_port:
    description: Port on which the registry serves pulls, from V(1) to V(65535). The default is the read-only port of
      the role P(k8scr.core.registry#role). Set it for a registry with a single port.
    type: int
    default: 5001
  images:
    description: The images to pull. Each entry is a name, which is also the image's name in the Docker or Podman
      engine, or a dictionary with a name and a destination.
    type: list
    elements: raw
    required: true
    suboptions:
      name:
        description: Name of the image, with a tag or a digest, as in C(registry.example.com/team/api:1.2).
        type: str
        required: true
      dest:
        description:
          - Destination of the image, on the host that runs the module. The default is the Docker or Podman engine.
          - C(oci:FOLDER[:NAME]), C(oci-archive:FILE[:NAME]) and C(docker-archive:FILE[:NAME]) are as in
            containers-transports(5). Without C(NAME), the image keeps its full name.
          - Nondistributable layers that the registry does not have are omitted from C(oci:) and C(oci-archive:).
          - A Docker archive has one platform. Select it with O(images[].platforms) if the index has several.
          - C(docker-daemon:[NAME:TAG]), or a name alone, is the Docker or Podman engine. From an index with several
            platforms, it gets the image for its own platform or for the one in O(images[].platforms). The engine only
            loads complete images, so the module downloads all layers unless the engine has the image under any name.
        type: str
      platforms:
        description: Platforms to pull, as in V(linux/amd64) or V(linux/arm/v7). A platform without a variant selects
          all variants. By default, an index is pulled whole, and all digests stay unchanged. Set it to pull only some
          platforms.
        type: list
        elements: str
      referrers:
        description:
          - Whether to pull the referrers of the image, such as signatures, attestations and SBOMs, and their own
            referrers.
          - With V(auto), they are pulled together with a new or changed image. Referrers that cannot be pulled are left
            out, and the task succeeds. RV(images[].referrers.left_out) has the reasons, and one warning names the
            images. An example is a destination that cannot store referrers. Supported destinations are C(oci:) and
            C(oci-archive:).
          - With V(auto), the image fails if a repeated task may pull its referrers, for example after a timeout. The
            repeated task pulls both.
          - With V(auto), an unchanged image takes no additional requests. Therefore a referrer that was added to the
            registry later is not pulled.
          - With V(true), referrers of unchanged images are pulled too, and the task fails if a referrer cannot be
            pulled. It takes some requests for each platform, even if nothing changes.
          - With V(false), no referrers are pulled.
          - Each referrer has its own entry in the result, after the image's. A layout lists it under cosign's tag or
            without a name, and M(k8scr.core.k8scr_push) finds it there.
        type: raw
        default: auto
seealso:
  - module: k8scr.core.k8scr_push
"""

EXAMPLES = r"""
- name: Back up an image, and fail if one of its signatures and SBOMs cannot be pulled
  k8scr.core.k8scr_pull:
    images:
      - name: registry.example.com/team/api:1.2
        dest: oci-archive:/backup/api.tar
        referrers: true

- name: Pull two images into one OCI layout
  k8scr.core.k8scr_pull:
    images:
      - name: registry.example.com/team/api:1.2
        dest: oci:/backup/layout
      - name: registry.example.com/team/web:2.1
        dest: oci:/backup/layout
    progress: lines

- name: Pull an image into the Docker engine, and one platform of another for docker load
  k8scr.core.k8scr_pull:
    images:
      - crossplane/crossplane:v1.2.1
      - name: busybox:1.36
        dest: docker-archive:/tmp/busybox.tar
        platforms: [linux/arm64]

- name: Pull an image into Podman under another name
  k8scr.core.k8scr_pull:
    images:
      - name: registry.example.com/team/api:1.2
        dest: docker-daemon:localhost/api:stable
    docker_host: unix:///run/podman/podman.sock
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
    repository:
      description: Repository in the cluster's registry.
      type: str
      sample: team/api
    tag:
      description: Tag of the image.
      type: str
      sample: "1.2"
    dest:
      description: Destination of the image.
      type: str
      sample: oci-archive:/backup/api.tar
    target:
      description: Destination with the image's name or digest in it.
      type: str
      sample: oci-archive:/backup/api.tar:registry.example.com/team/api:1.2
    subject:
      description: Digest of the manifest to which a referrer refers; only for referrers.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    digest:
      description: Digest of the manifest or index; empty if the image failed.
      type: str
      sample: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    digest_before:
      description: Previous digest at the destination, or the engine's image ID; empty if the image was missing.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    changed:
      description: Whether the image was written.
      type: bool
      sample: true
    present:
      description: Number and bytes of the existing blobs.
      type: dict
      sample: {blobs: 3, bytes: 31357624}
    mounted:
      description: Always zero, because pulls do not mount blobs.
      type: dict
      sample: {blobs: 0, bytes: 0}
    sent:
      description: Number and bytes of the downloaded blobs, or in check mode of those to download.
      type: dict
      sample: {blobs: 1, bytes: 1532}
    blobs:
      description: The blobs of the missing manifests, each with the action that was taken.
      type: list
      elements: dict
      sample:
        - digest: sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1
          size: 1532
          action: sent
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
          sample: ["2 referrers: the archive /tmp/busybox.tar cannot store referrers"]
    error:
      description: Reason for the failure of the image, if it failed.
      type: str
      sample: there is no image 1.2 in repository team/api in the registry in Pod k8scr/k8scr-0. Push it first.
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
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_settings import PULL_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.pull import PULL_EMPTY_RESULT, run_pull


def main() -> None:
    """Run the module."""
    run_module(PULL_ARGUMENT_SPEC, run_pull, empty_result=PULL_EMPTY_RESULT)


if __name__ == "__main__":
    main()
