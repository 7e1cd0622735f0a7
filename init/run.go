package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/appliance/sys"
	"sanstick/appliance/task"
	"sanstick/init/internal/coldplug"
	"sanstick/init/internal/console"
	"sanstick/init/internal/earlyfs"
	"sanstick/init/internal/guard"
	"sanstick/init/internal/power"
	"sanstick/init/internal/supervise"
	"sanstick/init/internal/trial"
)

const (
	daemonPath = "/bbin/appliance"
	daemonLog  = "/run/log/appliance.log"
	logSize    = 1 << 20                   // of two files
	confirmed  = "/run/sanstick/confirmed" // made by the daemon when a version on trial is kept

	// The daemon copes with drivers that come later, so one that takes its
	// time (a RAID controller that counts its disks) doesn't hold it up.
	driverLimit = 15 * time.Second
	daemonGrace = 30 * time.Second
	// More than the parts of init take to end, unless the kernel holds one.
	stopLimit = daemonGrace + 10*time.Second

	// How many drivers are loaded at the same time at boot, at most: while one
	// waits for its device, others work. With few CPUs they only get in each
	// other's way in the kernel: half as many as CPUs was the fastest.
	maxLoaders = 4

	partPause = 100 * time.Millisecond // before a part of init that failed starts again
)

// run is the machine's life. It only returns when the machine couldn't be
// switched off.
func run() error {
	began := sys.SinceBoot()
	signals := make(chan power.Action, 1)
	mountWarnings, mountErr := earlyfs.Apply(sys.KernelMounter{}, "/", earlyfs.Table(), earlyfs.Dirs(), earlyfs.Links())
	cmdline, _ := os.ReadFile("/proc/cmdline") // without it there are no options
	tuneErr := tune(string(cmdline))

	consoles := console.Active("/sys", extraConsoles(string(cmdline))...)
	out := console.NewWriter("/dev", consoles)
	log := slog.New(console.NewHandler(openKmsg(), out))
	sigs := power.NewSignals(signals, log)

	// What the rest needs to the very end of the machine's run.
	base := newGroup(context.Background(), log)
	defer base.stop(stopLimit)
	reaper := supervise.NewReaper()
	base.keep(reaper)
	base.keep(out)

	for _, err := range append(mountWarnings, mountErr, tuneErr, sys.KernelPower{}.DisableCAD()) {
		if err != nil {
			log.Error("Cannot set up the system", "err", err)
		}
	}

	phases := bootPhases{began: began, log: log}
	phases.add("kernel", 0, began)
	services := newGroup(base.ctx, log)
	services.keep(sigs)
	services.keep(power.NewButton("/sys", "/dev", sys.ListenUevents, signals, log))
	shell := supervise.Spec{Path: "/bin/sh", Env: environ()}
	for _, name := range consoles {
		services.keep(console.NewShell("/dev", name, reaper, shell, log))
	}
	var onTrial *trial.Trial
	if trial.On(string(cmdline)) {
		onTrial = newTrial(signals, log)
		services.keep(onTrial)
	}
	services.wg.Go(func() {
		if err := guard.Call(func() error { startDaemon(services, reaper, out, string(cmdline), onTrial, phases, log); return nil }); err != nil {
			log.Error("Cannot start the daemon", "err", err)
		}
	})

	action := <-signals
	log.Info("Going down", "to", action)
	if !services.stop(stopLimit) {
		log.Error("Some parts of init don't end, going on without them")
	}
	sequence := power.Sequence{
		Release: func(ctx context.Context) error {
			return reaper.RunOnce(ctx, supervise.Spec{Path: daemonPath, Args: []string{"--release"}, Env: environ()})
		},
		KillAll: func(sig unix.Signal) error { return unix.Kill(-1, sig) },
		WaitAll: reaper.WaitChildless,
		Sync:    unix.Sync,
		Mounts:  func() ([]sys.MountPoint, error) { return sys.Mounts("/proc") },
		Mounter: sys.KernelMounter{},
		Power:   sys.KernelPower{},
		Loaded:  func() bool { return sys.KexecLoaded("/sys") },
		Limits:  power.DefaultLimits(),
		Log:     log,
	}
	return sequence.Run(base.ctx, action)
}

// newTrial begins the trial of this version.
func newTrial(wishes chan<- power.Action, log *slog.Logger) *trial.Trial {
	return trial.New(trial.Options{
		Confirmed: confirmed, Dev: "/dev", Open: trial.OpenDevice, Log: log,
		Restart: func() {
			select {
			case wishes <- power.Reboot:
			default: // the machine is going down
			}
		},
	})
}

// startDaemon loads the drivers and then starts the daemon.
func startDaemon(services *group, reaper *supervise.Reaper, out io.Writer, cmdline string, onTrial *trial.Trial, phases bootPhases, log *slog.Logger) {
	var died func()
	if onTrial != nil {
		died = onTrial.DaemonDied
	}
	if drivers, modules, err := newColdplug(cmdline, log); err != nil {
		log.Error("Cannot load drivers", "err", err)
	} else {
		if onTrial != nil {
			// The kernel's own; the machine's come with the drivers.
			if err := modules.LoadName("softdog"); err != nil {
				log.Error("There is no watchdog", "err", err)
			}
		}
		services.keep(drivers)
		start := time.Now()
		select {
		case <-drivers.Ready():
			log.Debug("Drivers are loaded", "took", time.Since(start))
			now := sys.SinceBoot()
			phases.add("drivers", now-time.Since(start), now)
		case <-time.After(driverLimit):
			log.Warn("Some drivers take long to load, not waiting for them", "waited", driverLimit)
		case <-services.ctx.Done():
			return
		}
	}
	if file, err := supervise.OpenLogFile(daemonLog, logSize); err != nil {
		log.Error("Cannot keep the daemon's log", "err", err)
	} else {
		out = io.MultiWriter(file, out)
	}
	phases.add("init", phases.began, sys.SinceBoot())
	services.keep(supervise.NewDaemon(supervise.DaemonOptions{
		Reaper:  reaper,
		Spec:    supervise.Spec{Path: daemonPath, Env: environ()},
		Output:  out,
		Backoff: supervise.Backoff{Min: 200 * time.Millisecond, Max: 10 * time.Second, Healthy: time.Minute},
		Grace:   daemonGrace,
		Died:    died,
		Log:     log,
	}))
	debug.FreeOSMemory() // unpacking modules took far more than init needs from now on
}

// bootPhases notes what the machine's start took, for sanctl status --boot.
type bootPhases struct {
	began time.Duration // when init did
	log   *slog.Logger
}

func (p bootPhases) add(name string, begin, end time.Duration) {
	if err := (sys.BootLog{}).Add(sys.BootPhase{Name: name, Begin: begin, End: end}); err != nil {
		p.log.Warn("Cannot tell what the start took", "err", err)
	}
}

func newColdplug(cmdline string, log *slog.Logger) (*coldplug.Task, *coldplug.Modules, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, nil, fmt.Errorf("cannot find the kernel's version: %w", err)
	}
	index, err := coldplug.ReadIndex("/lib/modules/" + unix.ByteSliceToString(name.Release[:]))
	if err != nil {
		return nil, nil, err
	}
	loader, err := sys.NewLoader()
	if err != nil {
		return nil, nil, err
	}
	options := coldplug.ParseOptions(cmdline)
	options.CPU = coldplug.CPUAlias("/sys")
	modules := coldplug.NewModules(index, loader, options, log)
	return coldplug.NewTask(modules, "/sys", sys.ListenUevents, min(runtime.NumCPU()/2, maxLoaders), log), modules, nil
}

func environ() []string {
	return []string{"PATH=/bbin:/bin:/sbin:/usr/sbin:/usr/bin", "HOME=/", "USER=root", "LOGNAME=root"}
}

// A group is parts of init that end together.
type group struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	log    *slog.Logger
}

func newGroup(ctx context.Context, log *slog.Logger) *group {
	g := &group{log: log}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// keep runs t until the group is stopped.
func (g *group) keep(t task.Task) {
	g.wg.Go(func() { guard.Keep(g.ctx, g.log, t, partPause) })
}

// stop ends the group and waits for its parts. It reports whether all ended
// within the limit: a system call that hangs in the kernel can't be freed.
func (g *group) stop(limit time.Duration) bool {
	g.cancel()
	done := make(chan struct{})
	go func() { g.wg.Wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}
