// Command reboot restarts the appliance in order: the daemon ends, the
// volumes are flushed and deactivated, the filesystems unmounted.
package main

import (
	"fmt"
	"os"

	"sanstick/appliance/sys"
)

func main() {
	if err := sys.AskReboot(); err != nil {
		fmt.Fprintln(os.Stderr, "reboot:", err)
		os.Exit(1)
	}
}
