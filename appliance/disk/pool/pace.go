package pool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/task"
)

// Filling a disk, and comparing copies, takes from clients what the disks can do.
// The kernel lets filling give way to others, but only so far; see ARCHITECTURE.md
// for what was measured. So while clients use the volumes, filling goes on for a
// part of each cycle only, and how many requests clients get done in either part
// says how large it may be, so that they keep more than half of what they would
// have without it. While nobody uses the volumes it isn't held up.
//
// It is held up by the speed limits of the kernel's md, which hold for all pools
// and take effect within half a second. LVM's own (lvchange --maxrecoveryrate)
// would write to all disks and suspend the volume each time.

const (
	paceTick  = time.Second
	paceCycle = 8 // ticks
	// Clients are to keep that share; half is what is promised.
	paceKeep = 0.75
	// The part of a cycle in which a disk is filled, in ticks. With the least of
	// them clients keep paceKeep even if they get nothing done meanwhile.
	paceLeast, paceMost, paceFirst = 2, 7, 4
)

// speed is the limits of md in KiB a second for each volume, the least and the
// most.
type speed struct{ min, max int }

var (
	speedNormal = speed{1000, 200_000} // the kernel's own
	speedPaused = speed{1, 1}
)

// pace decides when disks are filled. The zero value is ready.
type pace struct {
	shared bool      // clients use the volumes: cycles go on
	tick   int       // of the cycle
	fill   int       // ticks of the cycle in which disks are filled; they come last
	done   [2]uint64 // clients' requests in the cycle so far: while paused, while filling
	waits  bool      // some of their requests waited at the end of a tick
	ratio  float64   // how fast clients are while filling, to while paused; over cycles
}

// next takes how many requests of clients have ended in the last tick, and whether
// some wait, and says how fast disks may be filled in the next one.
func (p *pace) next(ended uint64, waits bool) speed {
	if !p.shared {
		if ended == 0 && !waits {
			return speedNormal
		}
		*p = pace{shared: true, fill: paceFirst, ratio: -1}
		return p.speed()
	}
	p.waits = p.waits || waits
	if p.tick < paceCycle-p.fill {
		p.done[0] += ended
	} else {
		p.done[1] += ended
	}
	if p.tick++; p.tick == paceCycle {
		p.turn()
	}
	return p.speed()
}

func (p *pace) speed() speed {
	if p.shared && p.tick < paceCycle-p.fill {
		return speedPaused
	}
	return speedNormal
}

// turn begins another cycle.
func (p *pace) turn() {
	if p.done == [2]uint64{} && !p.waits {
		*p = pace{} // nobody is here any more
		return
	}
	paused := float64(p.done[0]) / float64(paceCycle-p.fill)
	filling := float64(p.done[1]) / float64(p.fill)
	ratio := 1.0
	if paused > 0 {
		ratio = min(filling/paused, 1)
	}
	if p.ratio >= 0 {
		ratio = (ratio + p.ratio) / 2 // what clients want changes, too
	}
	fill := paceMost
	for fill > paceLeast && (float64(fill)*ratio+float64(paceCycle-fill))/paceCycle < paceKeep {
		fill--
	}
	*p = pace{shared: true, fill: fill, ratio: ratio}
}

// Pace returns the task that keeps the filling of disks from taking too much from
// clients.
func (m *Manager) Pace() task.Task {
	return task.Func("rebuild pace", func(ctx context.Context) error {
		now := speedNormal
		told := ""
		set := func(s speed) {
			if s == now {
				return
			}
			err := m.limitSpeed(s)
			if err == nil {
				now = s
			} else if err.Error() != told {
				told = err.Error()
				m.o.Log.Warn("cannot hold up the filling of disks", "error", err)
			}
		}
		if err := m.limitSpeed(speedNormal); err != nil {
			now = speed{} // whatever it was before
		}
		defer set(speedNormal)
		tick := time.NewTicker(paceTick)
		defer tick.Stop()
		var p pace
		var last uint64
		counting := false
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			volumes := m.known().filling()
			if len(volumes) == 0 {
				p, counting = pace{}, false
				set(speedNormal)
				continue
			}
			ended, waiting := m.clientRequests(volumes)
			if counting && ended >= last {
				set(p.next(ended-last, waiting > 0))
			}
			last, counting = ended, true
		}
	})
}

// filling are the device-mapper names of all raid volumes of our pools, if at least
// one is being filled or compared: they may share disks.
func (f Facts) filling() []string {
	var names []string
	busy := false
	for _, g := range f.LVM.Groups {
		if !ours(g) {
			continue
		}
		for _, v := range raidVolumes(g) {
			name := lvm.DeviceName(g.Name, v.Name)
			if r := f.Devices[name].Raid; r != nil {
				names = append(names, name)
				busy = busy || !slices.Contains([]string{"idle", "frozen"}, r.Action)
			}
		}
	}
	if !busy {
		return nil
	}
	return names
}

// clientRequests counts the requests to raid volumes that have ended since the
// start, and those that wait: those of clients and of thin pools. What fills a disk
// goes past them.
func (m *Manager) clientRequests(names []string) (ended, waiting uint64) {
	dirs, err := filepath.Glob(filepath.Join(m.o.Sysfs, "block", "dm-*"))
	if err != nil {
		return 0, 0
	}
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "dm", "name"))
		if err != nil || !slices.Contains(names, strings.TrimSpace(string(b))) {
			continue
		}
		if e, w, err := requests(m.o.Sysfs, filepath.Base(dir)); err == nil {
			ended, waiting = ended+e.ended, waiting+w
		}
	}
	return ended, waiting
}

// limitSpeed tells md (Documentation/admin-guide/md.rst in the kernel).
func (m *Manager) limitSpeed(s speed) error {
	dir := filepath.Join(m.o.Procfs, "sys", "dev", "raid")
	for name, v := range map[string]int{"speed_limit_min": s.min, "speed_limit_max": s.max} {
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "%d\n", v), 0o644); err != nil {
			return fmt.Errorf("cannot limit the speed of filling disks: %w", err)
		}
	}
	return nil
}
