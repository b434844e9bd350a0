#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_pull
short_description: Pull images out of a cluster's registry through the API server
version_added: 0.1.0
description:
  - Pulls images from a registry that runs as a Pod. All requests go through the Pod proxy of the Kubernetes API server.
    Users with the permission C(get) on C(pods/proxy) for the registry's read-only port can pull.
  - An image that is there with the same digest costs one request, and nothing is written.
  - Every byte is verified. What is written takes its place only when it is whole; a pull that fails leaves what was
    there. Folders and archives keep the other images that they have.
  - An existing blob of a folder or an archive is verified before it is used. If it is damaged, it is downloaded again.
    If another image in an archive is damaged, the archive stays unchanged and the error names that image.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.registry_pod
  - k8scr.core.registry
  - k8scr.core.docker_daemon
  - k8scr.core.attributes
  - k8scr.core.attributes.cluster
options:
  registry_port:
    description:
      - The port that the registry serves pulls at.
      - The default is the read-only port of the role P(k8scr.core.registry#role). Set it for a registry with one port.
    type: int
    default: 5001
  images:
    description:
      - The images to pull.
      - Each is a name, which means the image of that name in the engine of Docker or Podman as well, or a dictionary
        with a name and where to write it.
    type: list
    elements: raw
    required: true
    suboptions:
      name:
        description:
          - The image's name, by tag or by digest, as in C(registry.example.com/team/api:1.2).
        type: str
        required: true
      dest:
        description:
          - Where to write it, on the host that runs the task.
          - C(oci:FOLDER[:NAME]), C(oci-archive:FILE[:NAME]) or C(docker-archive:FILE[:NAME]) as in
            containers-transports(5). Without C(NAME) it has its full name there.
          - A layer that is not to be distributed is left out of C(oci:) and C(oci-archive:) where the registry does not
            have it.
          - A Docker archive holds one platform; of an index of several, O(images[].platforms) chooses one.
          - C(docker-daemon:[NAME:TAG]), or a name alone, is the engine of Docker or Podman, and the default. Of an
            index of several platforms it gets the image for its own, or what O(images[].platforms) chooses. It takes an
            image as a whole, so all of it is fetched unless it has the image already, under this name or another.
        type: str
      platforms:
        description:
          - The platforms that are wanted, as in V(linux/amd64) or V(linux/arm/v7). Without a variant all variants are
            meant.
          - Without it an index is pulled whole, and every digest stays as it is.
          - With it the image is reduced to these. If one image is left, that is what is written, with the digest that
            it has in the registry. Otherwise there is a new index, which lists the same images; its digest is another,
            the same in every run. Attestations that an index lists beside its images are left out.
        type: list
        elements: str
      referrers:
        description:
          - Whether what refers to the image comes along, as signatures, attestations and SBOMs do, and what refers to
            these again. It is found by the registry's list of referrers, by the tag C(sha256-DIGEST) that stands for
            one, and by cosign's tags C(sha256-DIGEST.sig), C(.att) and C(.sbom), for the image and for each of its
            platforms.
          - Each has an entry of its own in the result, after the image's. In a layout it has cosign's tag as its name,
            or none, and M(k8scr.core.k8scr_push) with C(referrers) finds it there.
          - Destinations are C(oci:) and C(oci-archive:). The others have no place for referrers.
        type: bool
        default: false
seealso:
  - module: k8scr.core.k8scr_push
"""

EXAMPLES = r"""
- name: Keep a copy of an image
  k8scr.core.k8scr_pull:
    images:
      - name: registry.example.com/team/api:1.2
        dest: oci-archive:/backup/api.tar

- name: Fetch an image for docker load
  k8scr.core.k8scr_pull:
    images:
      - name: busybox:1.36
        dest: docker-archive:/tmp/busybox.tar

- name: Fetch an image into the Docker daemon
  k8scr.core.k8scr_pull:
    images:
      - crossplane/crossplane:v1.2.1

- name: Fetch an image into Podman, under another name
  k8scr.core.k8scr_pull:
    images:
      - name: registry.example.com/team/api:1.2
        dest: docker-daemon:localhost/api:stable
    docker_host: unix:///run/podman/podman.sock

- name: Fetch one platform of an image for docker load
  k8scr.core.k8scr_pull:
    images:
      - name: busybox:1.36
        dest: docker-archive:/tmp/busybox.tar
        platforms: [linux/arm64]

- name: Keep a copy of an image with its signatures and SBOMs
  k8scr.core.k8scr_pull:
    images:
      - name: registry.example.com/team/api:1.2
        dest: oci-archive:/backup/api.tar
        referrers: true

- name: Collect two images in one OCI layout
  k8scr.core.k8scr_pull:
    images:
      - name: registry.example.com/team/api:1.2
        dest: oci:/backup/layout
      - name: registry.example.com/team/web:2.1
        dest: oci:/backup/layout
"""

RETURN = r"""
images:
  description: One entry for each image, in the order asked.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The image's full name.
      type: str
      sample: registry.example.com/team/api:1.2
    repository:
      description: Its repository in the cluster's registry.
      type: str
      sample: team/api
    tag:
      description: Its tag.
      type: str
      sample: "1.2"
    dest:
      description: Where it was written.
      type: str
      sample: oci-archive:/backup/api.tar
    target:
      description: Where it was written, and under which name or digest there.
      type: str
      sample: oci-archive:/backup/api.tar:registry.example.com/team/api:1.2
    subject:
      description: The digest of the manifest that it refers to; only for what came along with an image.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    digest:
      description: The digest of its manifest or index; empty if the image failed.
      type: str
      sample: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    digest_before:
      description: The digest, or the engine's image ID, that was there before; empty if there was none.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    changed:
      description: Whether it was written.
      type: bool
      sample: true
    present:
      description: The blobs that were there, by number and bytes.
      type: dict
      sample: {blobs: 3, bytes: 31357624}
    mounted:
      description: Always none; pulls mount nothing.
      type: dict
      sample: {blobs: 0, bytes: 0}
    sent:
      description: The blobs that were fetched, or in check mode would be.
      type: dict
      sample: {blobs: 1, bytes: 1532}
    blobs:
      description: Each blob of the manifests that were missing, with what became of it.
      type: list
      elements: dict
      sample:
        - digest: sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1
          size: 1532
          action: sent
    error:
      description: Why the image failed, if it did.
      type: str
      sample: there is no image 1.2 in repository team/api in the registry in Pod k8scr/k8scr-0. Push it first.
retries:
  description: What was tried again, why, and how often.
  returned: always
  type: list
  elements: dict
  sample:
    - what: blob sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1 to team/api
      why: the connection to the API server 192.0.2.1:6443 was cut
      times: 1
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.pull import run_pull
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.pull_settings import PULL_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.run_module import run_module


def main() -> None:
    """Run the module."""
    run_module(PULL_ARGUMENT_SPEC, run_pull)


if __name__ == "__main__":
    main()
