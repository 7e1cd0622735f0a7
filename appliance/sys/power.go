package sys

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Power ends the machine's run by reboot(2). None of the methods writes
// anything back to disks: whoever calls them has flushed and unmounted before.
type Power interface {
	// PowerOff switches the machine off. On success it doesn't return.
	PowerOff() error
	// Reboot restarts the machine. On success it doesn't return.
	Reboot() error
	// Kexec starts the kernel that was loaded by Kexec.Load, without the firmware. On
	// success it doesn't return.
	Kexec() error
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

// Kexec implements Power.
func (KernelPower) Kexec() error {
	return reboot(unix.LINUX_REBOOT_CMD_KEXEC, "start the kernel that is loaded")
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

// What PID 1 of the appliance does on these signals. Ctrl-Alt-Del comes as
// SIGINT (reboot), a UPS's or a container manager's wish as SIGPWR (power
// off); SIGUSR1 is as SIGUSR2.
const (
	PowerOffSignal = unix.SIGUSR2
	RebootSignal   = unix.SIGTERM
)

// AskPowerOff asks process 1 to shut the machine down in order, and returns
// at once. It fails where process 1 isn't the appliance's init.
func AskPowerOff() error { return askInit("/proc", PowerOffSignal, unix.Kill) }

// AskReboot asks process 1 to restart the machine in order, and returns at
// once. It fails where process 1 isn't the appliance's init.
func AskReboot() error { return askInit("/proc", RebootSignal, unix.Kill) }

// askInit signals process 1, if it runs the same file as this process: on the
// appliance all commands are one program. Elsewhere, a signal could mean
// anything.
func askInit(procfs string, sig unix.Signal, kill func(int, unix.Signal) error) error {
	first, err := os.Readlink(filepath.Join(procfs, "1", "exe"))
	if err != nil {
		return fmt.Errorf("cannot find process 1: %w", err)
	}
	self, err := os.Readlink(filepath.Join(procfs, "self", "exe"))
	if err != nil {
		return fmt.Errorf("cannot find this process: %w", err)
	}
	if first != self {
		return fmt.Errorf("cannot ask process 1: it is %s and not the appliance's init", first)
	}
	if err := kill(1, sig); err != nil {
		return fmt.Errorf("cannot signal process 1: %w", err)
	}
	return nil
}
