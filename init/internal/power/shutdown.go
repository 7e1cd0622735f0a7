package power

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/appliance/sys"
	"sanstick/init/internal/guard"
)

// Limits are how long each step of a shutdown may take.
type Limits struct {
	Release   time.Duration // to deactivate the volumes
	Terminate time.Duration // from SIGTERM to SIGKILL for what else runs
	Kill      time.Duration // from SIGKILL to going on all the same
	Unmount   time.Duration // to write everything back and unmount
}

// DefaultLimits are for a real machine: a minute for disks that have a lot to
// flush.
func DefaultLimits() Limits {
	return Limits{Release: time.Minute, Terminate: 5 * time.Second, Kill: 5 * time.Second, Unmount: 30 * time.Second}
}

// A Sequence is what happens between the wish to go down and the power going,
// once the daemon has ended. All fields are needed.
type Sequence struct {
	// Release deactivates the volumes, with their data flushed.
	Release func(ctx context.Context) error
	// KillAll sends a signal to every process but this one.
	KillAll func(sig unix.Signal) error
	// WaitAll waits until no other process is left.
	WaitAll func(ctx context.Context) error
	// Sync writes all filesystems' data back.
	Sync func()
	// Mounts lists what is mounted, oldest first.
	Mounts  func() ([]sys.MountPoint, error)
	Mounter sys.Mounter
	Power   sys.Power
	// Loaded tells whether a kernel is loaded, which a restart goes straight into.
	Loaded func() bool
	Limits Limits
	Log    *slog.Logger
}

// Run works through the sequence and ends with the machine off or restarting,
// so on success it doesn't return. A step that fails is logged and doesn't
// stop the others.
func (s *Sequence) Run(ctx context.Context, a Action) error {
	steps := []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"release volumes", s.release},
		{"end processes", s.endProcesses},
		{"write back and unmount", s.unmountAll},
	}
	for _, step := range steps {
		start := time.Now()
		if err := guard.Call(func() error { return step.do(ctx) }); err != nil {
			s.Log.Error("Cannot "+step.name, "err", err)
			continue
		}
		s.Log.Debug("Done: "+step.name, "took", time.Since(start))
	}
	if a == Reboot {
		if s.Loaded() {
			err := s.Power.Kexec()
			s.Log.Error("Restarting by the firmware", "err", err)
		}
		return s.Power.Reboot()
	}
	return s.Power.PowerOff()
}

func (s *Sequence) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limits.Release)
	defer cancel()
	return s.Release(ctx)
}

func (s *Sequence) endProcesses(ctx context.Context) error {
	for _, step := range []struct {
		sig   unix.Signal
		limit time.Duration
	}{{unix.SIGTERM, s.Limits.Terminate}, {unix.SIGKILL, s.Limits.Kill}} {
		if err := s.KillAll(step.sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot signal processes: %w", err)
		}
		wait, cancel := context.WithTimeout(ctx, step.limit)
		err := s.WaitAll(wait)
		cancel()
		if err == nil {
			return nil
		}
	}
	return errors.New("some processes don't end")
}

var errHung = errors.New("the disks don't answer")

// unmountAll syncs and unmounts. A disk that doesn't answer blocks the calls
// for good, so after the limit the machine goes down without them.
func (s *Sequence) unmountAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limits.Unmount)
	defer cancel()
	done := make(chan error, 1)
	// Nothing can end a system call that is stuck in the kernel, so this one
	// goroutine may be left behind: the machine is about to end.
	go func() {
		done <- guard.Call(func() error {
			s.Sync()
			err := s.unmount()
			s.Sync()
			return err
		})
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errHung
	}
}

// unmount unmounts what can hold data of a disk, newest first; what is still
// in use is made read-only, which writes it back as well.
func (s *Sequence) unmount() error {
	mounts, err := s.Mounts()
	if err != nil {
		return err
	}
	var failed []error
	for _, m := range slices.Backward(mounts) {
		if !onDisk(m.FSType) {
			continue
		}
		err := s.Mounter.Unmount(m.Target, 0)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if ro := s.Mounter.Mount(m.Source, m.Target, m.FSType, unix.MS_REMOUNT|unix.MS_RDONLY, ""); ro != nil {
			failed = append(failed, err, ro)
		}
	}
	return errors.Join(failed...)
}

// onDisk tells filesystems that lose something from those in memory.
func onDisk(fstype string) bool {
	switch fstype {
	case "rootfs", "ramfs", "tmpfs", "proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs",
		"debugfs", "tracefs", "configfs", "efivarfs", "pstore", "bpf", "mqueue", "hugetlbfs", "fusectl":
		return false
	}
	return true
}
