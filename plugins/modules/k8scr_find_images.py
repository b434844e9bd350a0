#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_find_images
short_description: Find the images of charts, manifests and clusters
version_added: 0.1.0
description:
  - Finds the images that Helm charts, manifests, kustomizations, compose files and the workloads of a cluster use. The
    result can be the O(k8scr.core.k8scr_push#module:images) of M(k8scr.core.k8scr_push).
  - Images of containers, init containers, ephemeral containers and image volumes are found in every object with a Pod
    or a template of Pods, and in lists of objects. Images in known fields of custom resources are found too, see
    O(extra_paths), and those that operators state in C(relatedImages) and in variables C(RELATED_IMAGE_*).
  - Other texts that may be names of images, for example in arguments, variables, ConfigMaps and other fields of custom
    resources, are returned in RV(guesses). Review them, because operators often get their images there. Secrets and
    CustomResourceDefinitions are not searched.
  - Helm renders the charts, so that images which the values disable are not found. Images in the annotations
    C(artifacthub.io/images) and C(helm.sh/images) of a chart and its sub-charts are found in any case.
  - The programs C(helm), for charts, and C(kubectl), for kustomizations, are required on the host that runs the module.
    They run with a limit for time, memory and output, and without network, except to download a chart of C(oci://).
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.attributes
attributes:
  action_group:
    description: Use C(group/k8scr.core.k8scr) in C(module_defaults) to set the cluster and the credentials for all
      modules at once.
    support: full
    membership:
      - k8scr.core.k8scr
requirements:
  - PyYAML
  - helm 3 or newer, for charts
  - kubectl, for kustomizations
  - requests and kubernetes >= 24.2.0, without 36.0.0 and 36.0.1, with O(cluster)
options:
  charts:
    description: Charts, each as a location or as a dictionary with O(charts[].chart).
    type: list
    elements: raw
    default: []
    suboptions:
      chart:
        description: Location of the chart; the path of a folder or an archive on the host that runs the module, or
          V(oci://) followed by the address of a repository. Helm downloads it with the credentials of
          C(helm registry login). The dependencies of a folder must be in its folder C(charts).
        type: str
        required: true
      version:
        description: Version of a chart of C(oci://). The default is the newest one.
        type: str
      values:
        description: Values for the chart. They override O(charts[].values_files). Results and messages do not show
          them.
        type: dict
        default: {}
      values_files:
        description: Paths of files with values, on the host that runs the module. The last one overrides the others.
        type: list
        elements: path
        default: []
      kube_version:
        description: Version of Kubernetes for which the chart is rendered. The default is that of Helm. Set it to the
          version of your cluster, because charts select images by it.
        type: str
      api_versions:
        description: API versions that the cluster serves besides those of Kubernetes, such as
          V(monitoring.coreos.com/v1). Charts render some objects only for them. By default, there are none.
        type: list
        elements: str
        default: []
      release:
        description: Name of the release. The default is V(release-name).
        type: str
        default: release-name
      namespace:
        description: Namespace of the release. The default is that of Helm.
        type: str
      plain_http:
        description: Whether to download the chart without TLS. By default, TLS is required.
        type: bool
        default: false
  src:
    description:
      - Paths of files and folders with manifests or compose files, on the host that runs the module. With
        V(kustomize:) before the path of a folder, C(kubectl kustomize) builds it.
      - In a folder, all files that end in C(.yaml), C(.yml) and C(.json) are read, including subfolders that are no
        links. Charts in it are rendered with their default values, and kustomizations in it are built.
    type: list
    elements: str
    default: []
  cluster:
    description: Whether to find the images of the workloads in all namespaces of the cluster. By default, the module
      connects to no cluster. Users need the permission C(list) on Pods, Deployments, StatefulSets, DaemonSets,
      ReplicaSets, Jobs and CronJobs. Arguments and variables are not searched.
    type: bool
    default: false
  extra_paths:
    description: Fields of custom resources with names of images, as a list for each kind. The kind can be followed by a
      dot and its group. A path has keys with dots between them, C([]) after the key of a list, and C(*) for any key.
    type: dict
    default: {}
  lock:
    description: Path of a lock file, as M(k8scr.core.k8scr_push) writes it. The found images are compared with it, and
      the differences are returned in RV(new), RV(removed) and the diff. By default, nothing is compared.
    type: path
  on_problem:
    description: What to do if a file cannot be read, a chart cannot be rendered or a name is invalid, for example in a
      template that was not rendered. With V(fail), the default, the module fails with all problems. With V(warn), it
      warns, and the images in that file or field are missing in the result.
    type: str
    choices: [fail, warn]
    default: fail
  helm:
    description: Path of the program C(helm). By default, it is found in E(PATH).
    type: path
  kubectl:
    description: Path of the program C(kubectl). By default, it is found in E(PATH).
    type: path
  timeout:
    description: Seconds for each run of a program, from V(1) to V(2147483). The default is V(60).
    type: int
    default: 60
notes:
  - A file and a rendered chart can have 16 MiB and 100000 documents, and the whole input 10000 different images.
seealso:
  - plugin: k8scr.core.images_in
    plugin_type: filter
  - module: k8scr.core.k8scr_push
  - module: k8scr.core.k8scr_info
"""

EXAMPLES = r"""
- name: Find the images of a chart and a folder with manifests
  k8scr.core.k8scr_find_images:
    charts:
      - chart: ./charts/app
        values_files: [prod.yml]
        kube_version: "1.36"
    src: [manifests/, kustomize:overlays/prod]
  register: found

- name: Push the images
  k8scr.core.k8scr_push:
    images: "{{ found.sources }}"
    lock: images.lock.json

- name: Find the images of all workloads of a cluster
  k8scr.core.k8scr_find_images:
    cluster: true
    kubeconfig: ~/.kube/config
  register: running

- name: Show the images that a new version of the chart adds
  k8scr.core.k8scr_find_images:
    charts: [oci://registry.example.com/charts/app]
    lock: images.lock.json
  register: found
  changed_when: found.new != [] or found.removed != []
  diff: true

- name: Find images in a field of a custom resource
  k8scr.core.k8scr_find_images:
    src: [database.yml]
    extra_paths:
      Database.example.com: ["spec.sidecars[].image"]
"""

RETURN = r"""
images:
  description: Images that the objects use, sorted by name.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Full name of the image.
      type: str
      sample: docker.io/library/nginx:1.29
    source:
      description: The image as an entry of O(k8scr.core.k8scr_push#module:images).
      type: str
      sample: docker://docker.io/library/nginx:1.29
    how:
      description: How it was found; V(rendered) in a chart, V(manifest), V(cluster), or V(annotation) if only an
        annotation of a chart names it.
      type: str
      sample: rendered
    count:
      description: Number of fields that name it, with those that are missing in RV(images[].found_in).
      type: int
      sample: 2
    found_in: &found_in
      description: The fields that name it, at most 20, and at most 16777216 characters for all images together. Other
        fields are only counted. A property that does not apply is V(null).
      type: list
      elements: dict
      contains:
        file:
          description: The file as the user wrote it, or the template of the chart.
          type: str
          sample: app/templates/deployment.yaml
        document:
          description: Number of the document in the file or in the rendered chart.
          type: int
          sample: 1
        chart:
          description: The chart as the user wrote it.
          type: str
          sample: ./charts/app
        kind:
          description: Kind of the object.
          type: str
          sample: Deployment
        namespace:
          description: Namespace of the object, if the object states it.
          type: str
          sample: team
        name:
          description: Name of the object.
          type: str
          sample: app
        path:
          description: Path of the field in the document.
          type: str
          sample: spec.template.spec.containers[0].image
sources:
  description: All images as entries of O(k8scr.core.k8scr_push#module:images).
  returned: always
  type: list
  elements: str
  sample: ["docker://docker.io/library/nginx:1.29"]
guesses:
  description: Other texts that may be names of images, sorted by name. Review them.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Full name of the image.
      type: str
      sample: quay.io/team/agent:1.2
    count:
      description: Number of fields that contain it, with those that are missing in RV(guesses[].found_in).
      type: int
      sample: 1
    found_in: *found_in
left_out:
  description: What was not searched on purpose, such as the Pods of C(helm test), and archives and links to folders in
    a folder, at most 1000 entries. Each has the properties of RV(images[].found_in), and the reason.
  returned: always
  type: list
  elements: dict
  sample:
    - file: app/templates/tests/connection.yaml
      document: 4
      chart: ./charts/app
      kind: Pod
      namespace: null
      name: app-test
      path: null
      reason: only helm test creates it
unseen:
  description: Kinds of workloads that the user may not list; empty without O(cluster).
  returned: always
  type: list
  elements: dict
  sample:
    - kind: CronJob
      reason: 'cronjobs.batch is forbidden: User "auditor" cannot list resource "cronjobs"'
new:
  description: Names that were found and are not in the lock file; empty without O(lock).
  returned: always
  type: list
  elements: str
  sample: ["docker.io/library/nginx:1.29"]
removed:
  description: Names in the lock file that were not found; empty without O(lock).
  returned: always
  type: list
  elements: str
  sample: ["docker.io/library/nginx:1.28"]
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.find_images import run_find_images_module


def main() -> None:
    """Run the module."""
    run_find_images_module()


if __name__ == "__main__":
    main()
