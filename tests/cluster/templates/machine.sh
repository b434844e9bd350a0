# shellcheck shell=sh
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Becomes a node's machine: in network and mount namespaces of its own, gives the node its own
# folders, and then does nothing but hold the namespaces open. `sleep` means: ready.
# Arguments: the folder that has the node's own folders, and each of them as the node sees it.
set -eu
own=$1
shift
for folder in "$@"; do
    mount --bind "$own$folder" "$folder"
done
# Mounts travel between the node's containers, as volumes need it, but not out to this machine.
mount --make-rshared /
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
exec sleep infinity
