#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_bundle
short_description: Bundle images, charts and files on a medium for a cluster without a network
version_added: 0.1.0
description:
  - Copies images from registries, engines, archives and layouts into one OCI layout on a medium, such as a disk or
    DVDs. Run it on a host that reaches the registries; it uses no cluster. M(k8scr.core.k8scr_push) with the source
    C(bundle:PATH) pushes the images of the medium on the other side.
  - The layout is a folder or an C(oci-archive). skopeo, crane, oras and podman read it as it is. Images have their full
    names, all digests stay unchanged, and each blob is stored once.
  - An existing image costs one request to its registry. The next task resumes an interrupted one, also within a blob.
  - The bundle is marked as incomplete before the first change, and as complete after the last one. If an image fails,
    the bundle stays incomplete until a later task succeeds. M(k8scr.core.k8scr_push) rejects an incomplete bundle.
  - The bundle contains no credentials, mirrors, local paths and times. The same content has the same bytes.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.sources
  - k8scr.core.sources.upstreams
  - k8scr.core.docker_daemon
  - k8scr.core.bundle
  - k8scr.core.bundle.extras
  - k8scr.core.progress
  - k8scr.core.attributes.copies
  - k8scr.core.attributes
attributes:
  check_mode:
    description: Reads manifests, and writes nothing. Wheels of O(extras.wheels) are downloaded to a temporary folder.
requirements:
  - requests
options:
  dest:
    description:
      - Folder of the bundle, or C(oci-archive:FILE) for a tar archive. A folder is created if it is missing. A relative
        path of a folder begins with V(./).
      - Existing images stay, unless O(prune) is set. Each change rewrites an archive, which needs twice the space.
    type: str
    required: true
  state:
    description:
      - V(present), the default, makes the bundle.
      - V(verified) changes nothing. It compares the bundle with C(SHA256SUMS) and all digests, and fails if a file is
        missing or damaged. The message tells missing volumes from damaged files. Only O(dest) and O(tmp_dest) are used.
    type: str
    choices: [present, verified]
    default: present
  images:
    required: false
    default: []
  charts:
    description:
      - Helm charts to add. An entry is C(oci://REGISTRY/REPOSITORY:VERSION), the path of a chart's archive, or a
        dictionary with the chart and its name in the bundle.
      - A chart from an archive becomes the same artifact as with C(helm push). Its default name is
        C(localhost/charts/NAME:VERSION), with V(_) in place of V(+). For a chart in a folder, run C(helm package)
        first. For a chart of a repository, run C(helm pull) first.
    type: list
    elements: raw
    default: []
    suboptions:
      chart:
        description: Location of the chart.
        type: str
        required: true
      name:
        description: Full name of the chart in the bundle, as in C(registry.example.com/charts/app:1.2.0).
        type: str
  registry_image:
    description:
      - Image of the cluster's registry, a source or a dictionary as in O(images). It is written to C(registry.tar) in
        the bundle, an OCI archive that can be imported on nodes before the cluster has a registry, for example by the
        role P(k8scr.core.preload#role). By default, there is no such file.
      - Set O(registry_image.platforms) to the platforms of the nodes, because the archive is copied to each of them.
    type: raw
    suboptions:
      source:
        description: Source of the image; see O(images[].source).
        type: str
        required: true
      name:
        description: Name of the image; see O(images[].name).
        type: str
      platforms:
        description: Platforms to copy; see O(images[].platforms).
        type: list
        elements: str
      referrers:
        description: Whether to copy its referrers. With V(auto), none are copied; runtimes cannot import signatures.
        type: raw
        default: auto
  since:
    description:
      - What the other side has already. The bundle then has only what is missing there. By default, it is complete.
      - It is the path of the result of M(k8scr.core.k8scr_info) from the other side in JSON or YAML, of an earlier
        bundle that was delivered, or of a lock file. The result of C(k8scr_info) is the most reliable, because it
        states what the registry has now.
      - Images that the other side has under the same name and digest are left out with their referrers, unless
        O(images[].referrers=true). Layers that another image of the other side has are left out of the other images.
        The module reads the manifests of that image by its digest from the registries of O(images), and includes the
        layers if none returns them. C(bundle.json) lists the images that the registry on the other side must have. If
        one is missing there, M(k8scr.core.k8scr_push) fails before it sends anything.
      - The digests in a lock file are those before O(images[].platforms) reduces the images. Use a lock file only if
        the images were delivered with the same platforms as in this task.
    type: path
  volumes:
    description: Division of the bundle into volumes for media of limited size. By default, the bundle is not divided.
      Each volume is a folder C(volume-1), C(volume-2) and so on in O(dest), to copy to one medium. It is read from the
      medium and never joined on disk. A blob that is larger than a volume is cut. O(dest) must be a folder.
    type: dict
    suboptions:
      size:
        description: Bytes of a medium, as in V(4480M), from V(1048576) to V(4503599627370496).
        type: bytes
        required: true
      margin:
        description: Part of O(volumes.size) to leave free for the file system of the medium, in percent.
        type: str
        default: 2%
  prune:
    description: Whether to remove images, charts and files of the existing bundle that the task does not name. By
      default, they stay. Blobs that no image needs are always removed.
    type: bool
    default: false
  fail_fast:
    description: Whether to stop at the first image that fails. By default, the other images are still copied.
    type: bool
    default: false
seealso:
  - module: k8scr.core.k8scr_push
  - module: k8scr.core.k8scr_info
"""

EXAMPLES = r"""
- name: Bundle the images and the chart of an application
  k8scr.core.k8scr_bundle:
    dest: /media/out
    images:
      - docker://registry.example.com/team/api:1.2
      - source: docker://docker.io/library/busybox:1.36
        platforms: [linux/amd64]
      - docker-archive:/srv/build/web.tar
    charts:
      - oci://registry.example.com/charts/app:1.2.0
    lock: "{{ playbook_dir }}/images.lock.json"

- name: Bundle everything that the other side needs to start, and remove what is no longer needed
  k8scr.core.k8scr_bundle:
    dest: /media/out
    images: "{{ found.sources }}"
    registry_image:
      source: docker://docker.io/library/registry:3
      platforms: [linux/amd64]
    extras:
      collections: [/srv/build/k8scr-core-0.1.0.tar.gz]
      wheels:
        python: ["3.11", "3.12"]
        platforms: [manylinux2014_x86_64]
      files: [/srv/app/manifests]
    prune: true

- name: Divide the bundle into volumes for DVDs
  k8scr.core.k8scr_bundle:
    dest: /srv/dvd
    images: "{{ found.sources }}"
    volumes:
      size: 4480M

- name: Bundle only what the other side does not have, according to its own report
  k8scr.core.k8scr_bundle:
    dest: oci-archive:/media/out/update.tar
    images: "{{ found.sources }}"
    since: /media/in/far-side.json

- name: Verify the medium before it leaves
  k8scr.core.k8scr_bundle:
    dest: /media/out
    state: verified
"""

RETURN = r"""
dest:
  description: Location of the bundle; empty if the task fails without images.
  returned: always
  type: str
  sample: oci-archive:/media/out/update.tar
images:
  description: One entry for each image, in the given order; with O(state=verified), each image in the bundle.
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
      sample: docker://registry.example.com/team/api:1.2
    target:
      description: Name of the image in the bundle.
      type: str
      sample: registry.example.com/team/api:1.2
    subject:
      description: Digest of the manifest to which a referrer refers; only for referrers.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    digest:
      description: Digest in the bundle; empty if the image failed.
      type: str
      sample: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    digest_before:
      description: Previous digest of the name in the bundle; empty if the bundle did not have it.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    changed:
      description: Whether the image was copied.
      type: bool
      sample: true
    left_out:
      description: Whether the image is not in the bundle because the other side has it; only then returned.
      type: bool
      sample: true
    present:
      description: Number and bytes of the existing blobs.
      type: dict
      sample: {blobs: 3, bytes: 31357624}
    mounted:
      description: Always zero; bundles have no repositories.
      type: dict
      sample: {blobs: 0, bytes: 0}
    sent:
      description: Number and bytes of the blobs that were copied, or in check mode of those to copy.
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
    verified:
      description: The verified signature of the image; only with O(verify). See M(k8scr.core.k8scr_push).
      type: dict
      sample: {match: registry.example.com/*, by: cosign_key, digest: "sha256:4bcf…", signature: "tag sha256-4bcf….sig"}
    referrers:
      description: Referrers of the image that were copied (C(copied)), and why others were not (C(left_out)).
      type: dict
      contains:
        copied:
          description: Number of referrers in the bundle.
          type: int
          sample: 2
        left_out:
          description: Reasons why other referrers were not copied.
          type: list
          elements: str
          sample: []
    error:
      description: Reason for the failure of the image, if it failed.
      type: str
      sample: there is no image 1.2 in repository team/api in registry.example.com. Check the image's name and its tag.
removed:
  description: Names of the images that were removed from the bundle.
  returned: success, with O(state=present)
  type: list
  elements: str
  sample: ["registry.example.com/team/api:1.1"]
volumes:
  description: The volumes; empty without O(volumes), and in check mode before the bundle exists.
  returned: success, with O(state=present)
  type: list
  elements: dict
  contains:
    number:
      description: Number of the volume.
      type: int
      sample: 1
    path:
      description: Folder of the volume.
      type: str
      sample: /srv/dvd/volume-1
    bytes:
      description: Size of its files in bytes.
      type: int
      sample: 4510392320
bytes:
  description: Size of all manifests, blobs and other files of the bundle in bytes.
  returned: success, with O(state=present)
  type: int
  sample: 5368709120
extras:
  description: The files beside the images.
  returned: success, with O(state=present)
  type: list
  elements: dict
  contains:
    path:
      description: Path in the bundle.
      type: str
      sample: extras/collections/k8scr-core-0.1.0.tar.gz
    size:
      description: Size in bytes.
      type: int
      sample: 1048576
    sha256:
      description: SHA-256 sum of the content.
      type: str
      sample: 4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
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
    - what: blob sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1
      why: the connection to registry.example.com was interrupted
      times: 1
base:
  description: The images that the registry on the other side must have; empty for a bundle that leaves out nothing.
  returned: success or a fault in the bundle, with O(state=verified)
  type: list
  elements: dict
  sample:
    - name: registry.example.com/team/api:1.1
      digest: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
faults:
  description: Differences between the bundle and its description; empty for an undamaged bundle.
  returned: success or a fault in the bundle, with O(state=verified)
  type: list
  elements: dict
  contains:
    volume:
      description: Number of the volume; V(null) for a bundle without volumes.
      type: int
      sample: 2
    path:
      description: File with the fault, relative to the bundle or the volume; empty for a whole volume.
      type: str
      sample: blobs/sha256/4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1
    images:
      description: Names of the images that need the file.
      type: list
      elements: str
      sample: ["registry.example.com/team/api:1.2"]
    problem:
      description: The fault.
      type: str
      sample: is missing
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.bundle import BUNDLE_EMPTY_RESULT, run_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.bundle_settings import BUNDLE_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.redacting_module import run_local_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.source_settings import SOURCES_RULES


def main() -> None:
    """Run the module."""
    run_local_module(
        BUNDLE_ARGUMENT_SPEC,
        lambda module: run_bundle(module.params, module.check_mode, module.progress),
        libraries=("requests",),
        empty_result=BUNDLE_EMPTY_RESULT,
        **SOURCES_RULES,
    )


if __name__ == "__main__":
    main()
