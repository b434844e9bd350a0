// Copyright: k8scr.core contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
module k8scr.example/listing_registry

go 1.25.0

require github.com/google/go-containerregistry v0.22.1
