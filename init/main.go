// Command init is process 1 of the appliance. It mounts the early
// filesystems, loads the drivers, and then keeps the appliance daemon
// running, reaps orphans, gives a person at a console a shell, and ends the
// machine's run in order.
//
// It needs in the initramfs:
//
//	/bbin/appliance              the daemon; with --release it deactivates the volumes
//	/bin/sh                      the shell
//	/lib/modules/VERSION/        modules, modules.dep, modules.alias, modules.softdep, modules.builtin
//	/dev/console, /dev/null      nodes, for the time before devtmpfs is mounted
//
// It makes /run/log/appliance.log (and .log.1): what the daemon writes.
//
// It reads from the kernel's command line: mode=try, which says that this
// version is on trial (package trial); MODULE.PARAMETER=VALUE and
// modprobe.blacklist=A,B as modprobe(8) does; with debug, ignore_loglevel or
// loglevel=N the kernel's messages stay on the consoles.
//
// What signals to process 1 mean is told by package power; the commands
// poweroff and reboot send them. It never exits: whatever goes wrong, a
// person at the console gets a shell, but for a version on trial, with which
// the machine restarts if nobody is there.
package main

import (
	"errors"
	"fmt"
	"os"

	"sanstick/init/internal/guard"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is process 1 of the appliance; use poweroff or reboot to end its run")
		os.Exit(2)
	}
	for {
		cause := guard.Call(run)
		rescue(errors.Join(cause, guard.Call(func() error { return newGoBack().unless(cause) })))
	}
}
