// Command poweroff switches the appliance off in order: the daemon ends, the
// volumes are flushed and deactivated, the filesystems unmounted.
package main

import (
	"fmt"
	"os"

	"sanstick/appliance/sys"
)

func main() {
	if err := sys.AskPowerOff(); err != nil {
		fmt.Fprintln(os.Stderr, "poweroff:", err)
		os.Exit(1)
	}
}
