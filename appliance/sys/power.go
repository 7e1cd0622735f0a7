package sys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Power ends the machine's run by reboot(2). None of the methods writes
// anything back to disks: whoever calls them has flushed and unmounted before.
type Power interface {
	// PowerOff switches the machine off. On success it doesn't return.
	PowerOff() error
	// Reboot restarts the machine. On success it doesn't return.
	Reboot() error
	// DisableCAD makes Ctrl-Alt-Del send SIGINT to process 1, which by default
	// restarts the machine at once.
	DisableCAD() error
}

// KernelPower is the running kernel's Power.
type KernelPower struct{}

// PowerOff implements Power.
func (KernelPower) PowerOff() error {
	return reboot(unix.LINUX_REBOOT_CMD_POWER_OFF, "power off")
}

// Reboot implements Power.
func (KernelPower) Reboot() error {
	return reboot(unix.LINUX_REBOOT_CMD_RESTART, "reboot")
}

// DisableCAD implements Power.
func (KernelPower) DisableCAD() error {
	return reboot(unix.LINUX_REBOOT_CMD_CAD_OFF, "take over Ctrl-Alt-Del")
}

func reboot(cmd int, what string) error {
	if err := unix.Reboot(cmd); err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	return nil
}
