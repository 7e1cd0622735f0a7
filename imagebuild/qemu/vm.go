package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
)

// program is the emulator.
const program = "qemu-system-x86_64"

// ErrNoQEMU says what to install.
var ErrNoQEMU = errors.New(program + " is not installed; on Debian: apt-get install --no-install-recommends qemu-system-x86")

// Find checks that QEMU is there. The error wraps ErrNoQEMU.
func Find() error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("cannot run a virtual machine: %w", ErrNoQEMU)
	}
	return nil
}

// A VM is a running machine. Its methods may be called concurrently.
type VM struct {
	cmd     *exec.Cmd
	dir     string // holds the control socket
	qmpPath string
	stdin   io.WriteCloser
	serial  *transcript
	stderr  *transcript

	done chan struct{} // closed when QEMU has ended
	err  error         // how it ended; valid after done

	typing sync.Mutex

	plugging sync.Mutex // held while disks change
	slots    map[string]*slot
	plugged  int // makes names unique
}

// Start starts a machine. It runs until the guest powers off or one of Kill, PowerDown and the end of ctx (which kills)
// ends it. The caller must Wait.
func Start(ctx context.Context, o Options) (*VM, error) {
	if err := Find(); err != nil {
		return nil, err
	}
	// Not below the build directory: the path of a socket has at most 107 bytes.
	dir, err := os.MkdirTemp("", "sanstick-vm-")
	if err != nil {
		return nil, fmt.Errorf("cannot start a virtual machine: %w", err)
	}
	vm := &VM{dir: dir, qmpPath: filepath.Join(dir, "qmp"), serial: newTranscript(o.Console), stderr: newTranscript(nil),
		done: make(chan struct{}), slots: slots(o), plugged: len(o.Disks)}
	if err := vm.start(ctx, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	go vm.reap()
	return vm, nil
}

func (vm *VM) start(ctx context.Context, o Options) error {
	args, err := o.args(vm.qmpPath)
	if err != nil {
		return err
	}
	firmware, err := o.firmwareArgs(vm.dir)
	if err != nil {
		return err
	}
	vm.cmd = exec.CommandContext(ctx, program, append(args, firmware...)...)
	// A process group of its own: Ctrl-C at the terminal is for us, we power the guest off. If we are killed, QEMU ends too.
	vm.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	vm.cmd.Stdout, vm.cmd.Stderr = vm.serial, vm.stderr
	if vm.stdin, err = vm.cmd.StdinPipe(); err != nil {
		return fmt.Errorf("cannot start a virtual machine: %w", err)
	}
	if err := vm.cmd.Start(); err != nil {
		return fmt.Errorf("cannot start a virtual machine: %w", err)
	}
	return nil
}

// reap ends with QEMU, which Wait waits for.
func (vm *VM) reap() {
	err := vm.cmd.Wait()
	if text := strings.TrimSpace(vm.stderr.String()); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	if err != nil {
		vm.err = fmt.Errorf("the virtual machine ended: %w", err)
	}
	vm.err = errors.Join(vm.err, os.RemoveAll(vm.dir))
	vm.serial.close()
	close(vm.done)
}

// Wait waits for the end of the machine. The error is nil after an orderly power-off of the guest.
func (vm *VM) Wait() error {
	<-vm.done
	return vm.err
}

// Done is closed when the machine has ended.
func (vm *VM) Done() <-chan struct{} { return vm.done }

// Kill ends the machine at once, like a PC that loses its power, and waits for it.
func (vm *VM) Kill() {
	_ = vm.cmd.Process.Kill() // it may have ended by itself
	<-vm.done
}

// PowerDown presses the power button and waits until the guest has powered off or ctx ends; the machine runs on then.
func (vm *VM) PowerDown(ctx context.Context) error {
	if _, err := vm.QMP(ctx, "system_powerdown", nil); err != nil {
		return err
	}
	select {
	case <-vm.done:
		return vm.err
	case <-ctx.Done():
		return fmt.Errorf("cannot power off the virtual machine: the guest did not react: %w", ctx.Err())
	}
}

// Type types a line on the serial console.
func (vm *VM) Type(line string) error { return vm.Write([]byte(line + "\r")) }

// Write types bytes on the serial console.
func (vm *VM) Write(keys []byte) error {
	vm.typing.Lock()
	defer vm.typing.Unlock()
	if _, err := vm.stdin.Write(keys); err != nil {
		return fmt.Errorf("cannot type on the console: %w", err)
	}
	return nil
}

// WaitSerial waits until the guest has printed text that matches on its serial console, after the text that the last
// successful WaitSerial found. It returns the match and its groups.
func (vm *VM) WaitSerial(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	m, err := vm.serial.wait(ctx, pattern)
	if err != nil {
		return nil, fmt.Errorf("cannot find %q on the console: %w; its last lines:\n%s", pattern, err, lastLines(vm.serial.String(), 15))
	}
	return m, nil
}

// Serial returns what the guest has printed so far (the last MiB of it).
func (vm *VM) Serial() string { return vm.serial.String() }

// lastLines returns the end of a text.
func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\r\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
