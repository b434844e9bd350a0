#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_node_images
short_description: Put images from archives into a node's container runtime
version_added: 0.1.0
description:
  - Makes the container runtime of a node have the images of archives, or takes away what an earlier task put there.
  - Images are compared by their digests. An archive is imported only when the node lacks an image of it, so it need not
    be on the node before that is known; check mode tells.
  - The role P(k8scr.core.preload#role) is built of this. It speaks to no cluster, and needs no library on the node.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.attributes
options:
  images:
    description:
      - The images, as M(k8scr.core.k8scr_archive_info) returns them. With O(state=present), different images with the
        same name are an error.
      - With O(state=absent) none means all that were put into containerd. Podman does not keep account of them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The image's full name.
        type: str
        required: true
      digest:
        description: The digest of its manifest or index. Empty if it has none of its own.
        type: str
        default: ""
      config_digests:
        description: The digests of its configs, one for each platform.
        type: list
        elements: str
        default: []
      file:
        description: The archive's name in O(folder).
        type: str
        required: true
      archive:
        description: Where the archive is on the controller. It is not looked at.
        type: str
  folder:
    description: Where the archives are on the node.
    type: path
    default: /var/lib/k8scr
  delete_archives:
    description:
      - Whether the archives are deleted from O(folder) once the images are as asked for, and the folder too when
        nothing else is in it.
    type: bool
    default: false
  runtime:
    description: The container runtime. V(containers) is what Podman and CRI-O share.
    type: str
    choices: [containerd, containers]
    default: containerd
  program:
    description: Its client. The default is C(ctr) or C(podman).
    type: str
  socket:
    description: containerd's socket.
    type: path
    default: /run/containerd/containerd.sock
  containerd_namespace:
    description: containerd's namespace. Kubernetes has its images in V(k8s.io).
    type: str
    default: k8s.io
  snapshotter:
    description:
      - What unpacks the images in containerd.
      - Without it, what Kubernetes' images are unpacked with according to containerd's configuration, or where that
        cannot be read, containerd's default.
    type: str
    default: ""
  containerd:
    description: containerd itself, which is asked what its configuration amounts to.
    type: str
    default: containerd
  config:
    description: containerd's configuration.
    type: path
    default: /etc/containerd/config.toml
  pinned:
    description: Whether the images are kept from the kubelet's garbage collection, in containerd.
    type: bool
    default: true
  state:
    description: Whether the images are there.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: k8scr.core.k8scr_archive_info
"""

EXAMPLES = r"""
- name: Look into an archive
  k8scr.core.k8scr_archive_info:
    archives: [/media/app/registry.tar]
  delegate_to: localhost
  register: read

- name: See what the node lacks
  k8scr.core.k8scr_node_images:
    images: "{{ read.images }}"
  check_mode: true
  register: planned

- name: Send it
  ansible.builtin.copy:
    src: /media/app/registry.tar
    dest: "/var/lib/k8scr/{{ read.images[0].file }}"
    mode: "0600"
  when: planned.lacking

- name: Import it
  k8scr.core.k8scr_node_images:
    images: "{{ read.images }}"

- name: Take everything away that was put there
  k8scr.core.k8scr_node_images:
    state: absent
"""

RETURN = r"""
images:
  description: What became of each image, or in check mode would.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: docker.io/library/registry:3.1.2
    action:
      description: V(imported), V(pinned), V(unchanged), V(removed), or V(unpinned) where it was there before.
      type: str
      sample: imported
lacking:
  description: The archives that are imported, by their names in O(folder).
  returned: success
  type: list
  elements: str
  sample: [1f42287a87e2-registry.tar]
"""

import errno
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.archive_info import refuse_collisions
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.redacting_module import RedactingModule
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import DestinationError, K8scrError
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.files.partial_file import (
    delete_expired_partials,
    partial_path,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.config_toml import snapshotter
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.node.images import Containerd, Podman, Runtime, Wanted

IMAGE = {
    "name": {"type": "str", "required": True},
    "digest": {"type": "str", "default": ""},
    "config_digests": {"type": "list", "elements": "str", "default": []},
    "file": {"type": "str", "required": True},
    "archive": {"type": "str"},
}


def main() -> None:
    """Run the module."""
    module = RedactingModule(
        {
            "images": {"type": "list", "elements": "dict", "default": [], "options": IMAGE},
            "folder": {"type": "path", "default": "/var/lib/k8scr"},
            "delete_archives": {"type": "bool", "default": False},
            "runtime": {"type": "str", "choices": ["containerd", "containers"], "default": "containerd"},
            "program": {"type": "str"},
            "socket": {"type": "path", "default": "/run/containerd/containerd.sock"},
            "containerd_namespace": {"type": "str", "default": "k8s.io"},
            "snapshotter": {"type": "str", "default": ""},
            "containerd": {"type": "str", "default": "containerd"},
            "config": {"type": "path", "default": "/etc/containerd/config.toml"},
            "pinned": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    options = module.params
    images = [Wanted.from_options(image, options["folder"]) for image in options["images"]]
    try:
        if options["state"] == "present":
            refuse_collisions(options["images"])
        runtime = open_runtime(module)
        act = runtime.present if options["state"] == "present" else runtime.absent
        done = act(images, module.check_mode)
        if options["delete_archives"] and not module.check_mode:
            delete_archives(Path(options["folder"]), {image["file"] for image in options["images"]})
    except K8scrError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=any(action != "unchanged" for action in done.values()),
        images=[{"name": name, "action": action} for name, action in done.items()],
        lacking=sorted({image["file"] for image in options["images"] if done.get(image["name"]) == "imported"}),
        diff=diff(done),
    )


def delete_archives(folder: Path, names: Iterable[str]) -> None:
    """Delete archives, also where a part of them is all that came, and their folder if nothing else is in it."""
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
            partial_path(folder / name).unlink(missing_ok=True)
        delete_expired_partials(folder)
        folder.rmdir()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTEMPTY):
            return
        raise DestinationError(f"the archives in {folder} cannot be deleted: {error.strerror}") from error


def open_runtime(module: AnsibleModule) -> Runtime:
    """Return the runtime that the options describe."""
    options = module.params

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        status, printed, said = module.run_command(list(command), environ_update={"LC_ALL": "C"})
        return int(status), str(printed), str(said)

    if options["runtime"] == "containers":
        return Podman(run, [options["program"] or "podman"])
    program = [options["program"] or "ctr", "--address", options["socket"]]
    program += ["--namespace", options["containerd_namespace"]]
    return Containerd(run, program, options["snapshotter"] or _configured_snapshotter(module), options["pinned"])


def _configured_snapshotter(module: AnsibleModule) -> str:
    command = [module.params["containerd"], "--config", module.params["config"], "config", "dump"]
    try:
        status, printed, _said = module.run_command(command, handle_exceptions=False)
    except OSError:
        # It is built into something else, as into k3s.
        return ""
    return "" if status else snapshotter(str(printed))


def diff(done: dict[str, str]) -> dict[str, Any]:
    """Return what --diff shows: the images that there are, before and after."""
    words = {
        "imported": ("", "there"),
        "pinned": ("there", "there, pinned"),
        "removed": ("there", ""),
        "unpinned": ("there, pinned", "there"),
    }
    changed = {name: words[action] for name, action in done.items() if action in words}
    return {
        "before": "".join(f"{name}: {before}\n" for name, (before, _after) in changed.items() if before),
        "after": "".join(f"{name}: {after}\n" for name, (_before, after) in changed.items() if after),
    }


if __name__ == "__main__":
    main()
