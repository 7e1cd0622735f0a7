// Package run tries the stick out: it boots the image in QEMU with empty disks that stay from run to run, and serves
// the appliance's iSCSI port on this machine until the person presses Ctrl-C.
package run

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/imagebuild/progress"
	"sanstick/imagebuild/qemu"
)

// iscsiPort is the appliance's port.
const iscsiPort = 3260

// powerOffTime is how long the appliance may take to close its volumes and power off.
const powerOffTime = 60 * time.Second

// Options says what to run.
type Options struct {
	Dir        string // the stick and the disks are kept here
	Image      string // the image to boot
	Kernel     string // kernel and initramfs of the image, to probe KVM with
	Initrd     string
	CacheDir   string // for the answer of that probe
	ConfigFile string // put this on the stick; empty = what it has, at first the demo
	Accel      string // auto, kvm or tcg
	MemoryMiB  int
	Disks      int
	DiskSize   int64 // bytes
	Port       int   // preferred port on this machine
	Log        *progress.Log
	Out        io.Writer // hints and the guest's console
	Terminal   *os.File  // keys come from here if it is a terminal
}

// Run runs the machine until the appliance powers off, or ctx ends or Ctrl-C is typed, which powers it off.
func Run(ctx context.Context, o Options) error {
	if err := qemu.Find(); err != nil {
		return err
	}
	stickFile, disks, err := prepare(o)
	if err != nil {
		return err
	}
	choice, err := qemu.Choose(ctx, o.Accel, qemu.Probe{
		Kernel: o.Kernel, Initrd: o.Initrd, CacheFile: o.CacheDir + "/accel.json",
	}, func(s string) { o.Log.Step("%s", s) })
	if err != nil {
		return err
	}
	port, err := qemu.FreePort(o.Port)
	if err != nil {
		return err
	}
	if port != o.Port {
		o.Log.Step("port %d is taken: using 127.0.0.1:%d", o.Port, port)
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	o.Log.Step("booting with %s (%s); the appliance's console follows", choice.Accel, choice.Reason)
	// Not ended by ctx: the appliance gets its time to close the volumes.
	vm, err := qemu.Start(context.WithoutCancel(ctx), qemu.Options{
		Stick: stickFile, Disks: disks, MemoryMiB: o.MemoryMiB, Accel: choice.Accel, Console: o.Out,
		Ports:  []qemu.Forward{{Host: port, Guest: iscsiPort}},
		SMBIOS: []string{"sanstick.portal=" + address},
	})
	if err != nil {
		return err
	}
	return session(ctx, o, vm, address)
}

// session runs a started machine to its end.
func session(ctx context.Context, o Options, vm *qemu.VM, address string) error {
	ctx, cancel := context.WithCancel(ctx)
	kb := openKeyboard(o.Terminal)
	defer kb.restore()
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		announce(ctx, o, address, kb.interactive())
	}()
	kill := make(chan struct{}) // closed by a second Ctrl-C
	keys := make(chan struct{})
	go func() {
		defer close(keys)
		kb.feed(vm, cancel, kill)
	}()
	select {
	case <-ctx.Done():
	case <-vm.Done():
	}
	cancel()
	<-ready
	err := end(o, vm, kill)
	kb.restore() // ends feed
	<-keys
	return err
}

// end powers the machine off, if it runs.
func end(o Options, vm *qemu.VM, kill <-chan struct{}) error {
	select {
	case <-vm.Done():
		o.Log.Step("the appliance has powered off")
		return vm.Wait()
	default:
	}
	o.Log.Step("powering off (at most %.0f s; Ctrl-C again pulls the plug)", powerOffTime.Seconds())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, powerOffTime)
	defer cancel()
	watch := make(chan struct{})
	go func() {
		defer close(watch)
		select {
		case <-kill:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := vm.PowerDown(ctx)
	cancel()
	<-watch
	if err != nil {
		vm.Kill()
		return fmt.Errorf("cannot end cleanly, pulled the plug: %w", err)
	}
	o.Log.Step("the appliance has powered off; its disks stay in %s", o.Dir)
	return nil
}
