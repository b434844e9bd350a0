// Copyright: k8scr.core contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command waiter prints its version and platform, and then waits for a signal.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

var version = "unknown"

func main() {
	fmt.Printf("waiter %s on %s/%s\n", version, runtime.GOOS, runtime.GOARCH)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	fmt.Printf("stopping on %v\n", <-stop)
}
