// Package box is the appliance's composition root: it turns one configuration
// into a set of running tasks, and is the one place that names everything:
// stick, network, pools, target, API and console.
//
// It holds no rule of its own about disks or SCSI; it translates the
// configuration into what those rooms ask for, and their state into a
// status.Snapshot.
package box

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/appliance/api"
	"sanstick/appliance/console"
	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/pool"
	"sanstick/appliance/network"
	"sanstick/appliance/sys"
	"sanstick/appliance/task"
	"sanstick/target"
)

// Options says where things are. The zero value of each field is the
// appliance's own; tests move them.
type Options struct {
	Log           *slog.Logger
	Console       io.Writer // where people look; os.Stderr
	Version       string    // read from AboutDir/version
	AboutDir      string    // what this version is: /etc/sanstick
	StickDir      string    // /stick
	BootDir       string    // where the boot volume is mounted now and then: /run/boot
	SysDir        string    // /sys
	ProcDir       string    // /proc
	KernelLog     string    // /dev/kmsg
	Socket        string    // /run/sanstick/api.sock
	BootLog       string    // /run/sanstick/boot
	Listen        string    // where iSCSI is served; ":3260"
	Runner        sys.Runner
	Mapper        lvm.Mapper
	Mounter       sys.Mounter
	ListenUevents func() (sys.UeventSource, error)
	OpenDisk      disk.Opener  // to look for the stick; nil: as files
	Reboot        func() error // asks for a restart of the machine, in order
	Kexec         sys.Kexec
}

func (o *Options) defaults() {
	or := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	or(&o.StickDir, "/stick")
	or(&o.BootDir, "/run/boot")
	or(&o.AboutDir, "/etc/sanstick")
	or(&o.SysDir, "/sys")
	or(&o.ProcDir, "/proc")
	or(&o.KernelLog, "/dev/kmsg")
	or(&o.Socket, api.DefaultSocket)
	or(&o.Listen, ":3260")
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Console == nil {
		o.Console = os.Stderr
	}
	if o.Version == "" {
		b, err := os.ReadFile(filepath.Join(o.AboutDir, "version"))
		if err != nil {
			b = []byte("unknown")
		}
		o.Version = strings.TrimSpace(string(b))
	}
	if o.Runner == nil {
		o.Runner = sys.Exec{}
	}
	if o.Mapper == nil {
		o.Mapper = &lvm.KernelMapper{}
	}
	if o.Mounter == nil {
		o.Mounter = sys.KernelMounter{}
	}
	if o.ListenUevents == nil {
		o.ListenUevents = sys.ListenUevents
	}
	if o.Reboot == nil {
		o.Reboot = sys.AskReboot
	}
	if o.Kexec == nil {
		o.Kexec = sys.KernelKexec{Procfs: o.ProcDir}
	}
}

// Run is the appliance: it reads the configuration and serves it until ctx is
// cancelled, then stops serving, flushes and returns nil. Volumes stay active,
// so that the next Run finds them; Release lets go of them. What a person can
// mend (a bad file, a missing disk) is no error but a problem in the status.
func Run(ctx context.Context, o Options) error {
	o.defaults()
	target.SpareProcs()
	b := &box{o: &o, log: o.Log, started: time.Now(), sticks: newStickWatch(&o), adopted: make(chan struct{}, 1), boot: newBootPhases(sys.BootLog{Path: o.BootLog}, o.Log)}
	b.openStick(ctx)
	b.boot.add("stick", b.started, time.Now())
	b.portal = b.advertised()
	if ctx.Err() != nil {
		return nil
	}
	c := b.settings().config
	if c.Hostname != "" {
		if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
			b.log.Warn("Cannot set the host name", "name", c.Hostname, "error", err)
		}
	}

	b.network = network.New(network.Options{Log: b.log, Interfaces: c.Interfaces, Hostname: c.Hostname})
	var err error
	if b.storage, err = newStorage(b); err != nil {
		return err
	}
	po := pool.Options{
		Runner: o.Runner, Mapper: o.Mapper, Uevents: o.ListenUevents, Log: b.log, Sysfs: o.SysDir, Procfs: o.ProcDir, BootDisks: b.bootDisks, Changed: b.storage.poolsChanged,
		Units: b.storage.space, Numbers: b.storage.numbersOf,
	}
	if b.stick != nil {
		b.witness, b.ledger = newWitness(o.StickDir, b.writeStick, b.log), newLedger(o.StickDir, b.stick.write, b.log)
		po.Witness, po.Ledger, b.stick.keepers = b.witness, b.ledger, []keeper{b.witness, b.ledger}
		if b.stick.memory {
			b.witness.disks = func(data []byte) bool { return b.copies.keeps(poolsName, data) }
		}
	}
	b.pools = pool.New(po)
	b.copies = b.newCopies()
	b.reservations = b.newReservations()
	b.updates = newUpdates(b)
	b.firmware = &firmwareWatch{kmsg: o.KernelLog, sysfs: o.SysDir, log: b.log}
	tasks := []task.Task{
		b.network,
		task.Func("boot phases", b.noteNetwork),
		b.storage,
		// Volumes are served without these, too.
		task.Restart("API", b.log, func() task.Task {
			return api.New(api.Options{Log: b.log, Socket: o.Socket, Status: b.snapshot, Actions: b.actions()})
		}),
		task.Func("stick's copies", b.keepCopies),
		task.Restart("firmware watch", b.log, func() task.Task { return task.Func("firmware watch", b.firmware.run) }),
		task.Restart("console", b.log, func() task.Task { return task.Func("console", b.show) }),
		task.Restart("updates", b.log, func() task.Task { return task.Func("updates", b.updates.run) }),
		task.Restart("restart", b.log, func() task.Task { return task.Func("restart", b.updates.restarts) }),
	}
	if b.stick == nil || b.stick.memory {
		tasks = append(tasks, task.Func("late stick", b.lateStick))
	}
	return task.Run(ctx, tasks...)
}

// Release deactivates every volume of this appliance's pools, so that the
// machine can be switched off. Nothing may be serving them any more.
func Release(ctx context.Context, o Options) error {
	o.defaults()
	m := pool.New(pool.Options{Runner: o.Runner, Mapper: o.Mapper, Uevents: o.ListenUevents, Log: o.Log, Sysfs: o.SysDir})
	return m.Release(ctx)
}

// box is the appliance while it runs. Its fields are set before the tasks
// start, and only inForce changes afterwards.
type box struct {
	o            *Options
	log          *slog.Logger
	started      time.Time
	boot         *bootPhases
	stick        *stick // nil if there is none
	inForce      atomic.Pointer[settings]
	portal       string // see advertised
	network      *network.Manager
	pools        *pool.Manager
	witness      *witness // nil if there is no stick
	ledger       *ledger  // the same
	storage      *storage
	copies       *copies
	reservations *reservations
	adopted      chan struct{} // filled when a configuration was adopted

	updates  *updates
	firmware *firmwareWatch

	stickGone atomic.Bool
	sticks    *stickWatch

	applying sync.Mutex // held while another configuration is applied
}

// settings is the configuration that is in force.
func (b *box) settings() *settings { return b.inForce.Load() }

// openStick mounts the stick and reads the configuration from it.
func (b *box) openStick(ctx context.Context) {
	iso := startedFromISO(b.o.ProcDir)
	var stick *stick
	err := errNoStick
	if !iso || !keepsConfig(b.o.StickDir) { // one in memory that has a configuration stays
		stick, err = mountStick(ctx, b.o)
	}
	if errors.Is(err, errNoStick) && iso {
		stick, err = memoryStick(b.o)
	}
	if err != nil {
		none := decide(filepath.Join(b.o.StickDir, configName), nil, err, nil, errNoStick)
		b.inForce.Store(&none)
		b.log.Error("Cannot use the stick", "error", err)
		return
	}
	b.stick = stick
	s := readSettings(b.o.StickDir)
	if stick.memory && !keepsConfig(b.o.StickDir) {
		s = builtIn()
		b.log.Warn("Configuration", "warning", memoryWarning)
	}
	b.inForce.Store(&s)
	for _, e := range s.status.Errors {
		b.log.Error("Configuration", "error", e)
	}
	b.keepGood(s)
}

// keepGood writes what is to become the last good configuration, if anything
// is.
func (b *box) keepGood(s settings) {
	if s.remember == nil || b.stick == nil {
		return
	}
	b.toldKeeping(b.stick.write(func() error { return s.keep(b.o.StickDir) }))
}

// toldKeeping says why the last good configuration isn't kept.
func (b *box) toldKeeping(err error) {
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
		b.log.Info("The stick is write-protected; the last good configuration is not kept")
	} else if err != nil {
		b.log.Warn("Cannot keep the last good configuration", "error", err)
	}
}

// writeStick is stick.write for what belongs into the copies, too. What is written to
// a stick in memory lasts only by them, so they are waited for.
func (b *box) writeStick(f func() error) error {
	err := b.stick.write(f)
	if b.stick.memory {
		b.copies.round(context.Background())
	} else {
		b.copies.changed()
	}
	return err
}

// lateStick waits for a stick that wasn't there at the start. When it comes,
// it fails with errLateStick: the daemon ends, and is started again with it. If
// a configuration is in force by then, kept in memory and on disks, that stays.
func (b *box) lateStick(ctx context.Context) error {
	switch p, err := awaitStick(ctx, b.o); {
	case ctx.Err() != nil:
		return nil
	case err == nil && b.stick != nil && keepsConfig(b.o.StickDir):
		b.log.Warn("A stick has come, which is used only after a restart: the configuration of the disks is in force", "stick", p.Path)
		<-ctx.Done()
		return nil
	case err != nil:
		b.log.Error("Cannot wait for the stick", "error", err)
		<-ctx.Done()
		return nil
	}
	return errLateStick
}

// errLateStick ends a box that started without its stick.
var errLateStick = errors.New("the stick has come: starting again with its configuration")

// bootDisks names the disks that never may become part of a pool.
func (b *box) bootDisks() []string {
	if b.stick == nil || b.stick.memory {
		return nil
	}
	return b.stick.disks()
}

// advertised returns the portal that the hypervisor told us to name in
// discovery, because ours can't be reached from outside (NAT), or "". It comes
// as the SMBIOS OEM string sanstick.portal=HOST:PORT.
func (b *box) advertised() string {
	all, err := sys.OEMStrings(b.o.SysDir)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			b.log.Warn("Cannot read the SMBIOS strings", "error", err)
		}
		return ""
	}
	for _, s := range all {
		if portal, ok := strings.CutPrefix(s, "sanstick.portal="); ok {
			return portal
		}
	}
	return ""
}

// show tells a person at the machine what it does, again whenever that
// changes. It begins when volumes are served, or when that takes long.
func (b *box) show(ctx context.Context) error {
	const every, patience = 2 * time.Second, 10 * time.Second
	if len(b.settings().status.Errors) == 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-b.storage.Ready():
		case <-time.After(patience):
		}
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	shown := ""
	for {
		if s, err := b.snapshot(ctx); err == nil {
			if text := console.Banner(s); text != shown {
				if _, err := fmt.Fprint(b.o.Console, text); err != nil {
					return fmt.Errorf("cannot write to the console: %w", err)
				}
				shown = text
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
