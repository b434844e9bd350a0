# shellcheck shell=sh
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The process of a node's machine, in its own network and mount namespaces. It mounts the node's own
# folders and then keeps the namespaces open; once it is `sleep`, the machine is ready.
# Arguments: the folder that contains the node's own folders, and the mount point of each.
set -eu
own=$1
shift
for folder in "$@"; do
    mount --bind "$own$folder" "$folder"
done
# Volumes need mounts to propagate between the node's containers; they do not propagate to this machine.
mount --make-rshared /
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
exec sleep infinity
