package pool

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// Status tells how the pools and disks are. It asks sysfs and the kernel's
// device-mapper, and never LVM, so it is cheap and does not wait for a Bring
// that is going on.
func (m *Manager) Status(ctx context.Context) ([]status.Pool, []status.Disk, []status.Problem) {
	m.mu.Lock()
	v := view{specs: m.specs, facts: m.facts, problems: m.problems, doing: m.doing, seen: m.space, celsius: m.celsius, cleared: m.cleared, silence: m.silences(), shunned: m.shuns(), slowness: m.slownesses(), at: time.Now()}
	untidy := m.untidy
	m.mu.Unlock()

	var problems []status.Problem
	seen, err := m.peek(ctx)
	if err != nil {
		p := status.Problem{Health: status.Failed, What: err.Error(), Do: "see the log"}
		if errors.As(err, new(silentError)) {
			p.Health, p.Do = status.Degraded, "wait; if it stays, look at the disks' lights and at the log, and replace the one that hangs"
		}
		problems = append(problems, p)
	}
	v.devices, v.now = seen.devices, seen.disks
	v.facts.Below, v.facts.Numbers = seen.below, seen.numbers
	var pools []status.Pool
	for _, s := range v.specs {
		p, more := v.pool(s)
		pools, problems = append(pools, p), slices.Concat(problems, more, untidy[s.Name])
	}
	problems = append(problems, v.silent()...)
	problems = append(problems, v.slow()...)
	problems = append(problems, v.twins()...)
	problems = append(problems, v.facts.copyProblems()...)
	problems = append(problems, v.facts.doubtProblems()...)
	problems = append(problems, v.outdated()...)
	slices.SortStableFunc(problems, func(a, b status.Problem) int { return rank(b.Health) - rank(a.Health) })
	return pools, v.disks(), problems
}

func rank(h status.Health) int {
	return slices.Index([]status.Health{status.OK, status.Degraded, status.Failed}, h)
}

// view is everything that Status is made of.
type view struct {
	specs    []Spec
	facts    Facts       // as of when LVM's state was read
	now      []disk.Disk // the disks that are here now
	problems map[string][]status.Problem
	doing    map[string]string     // by pool: the step that goes on
	devices  map[string]lvm.Device // by device-mapper's name
	seen     map[string]spaceView  // by pool
	at       time.Time
	celsius  map[string]int           // by diskKey
	silence  map[string]time.Duration // by diskKey, of disks that don't answer
	shunned  map[string]bool          // by diskKey: disks to which LVM can't write
	slowness map[string]time.Duration // by diskKey, what slow ones take for a request
	cleared  map[string]clearedSoFar  // by volume's UUID
}

// group finds the pool's group, if it is ours.
func (v view) group(name string) (lvm.Group, bool) {
	for _, g := range v.facts.LVM.Groups {
		if g.Name == name && ours(g) {
			return g, true
		}
	}
	return lvm.Group{}, false
}

func (v view) pool(s Spec) (status.Pool, []status.Problem) {
	p := status.Pool{Name: s.Name, Layout: s.Layout, Health: status.OK, Disks: []string{}, Volumes: []status.Volume{}, Sync: 100}
	var problems []status.Problem
	tell := func(h status.Health, detail string) {
		if p.Detail == "" || p.Health.Worse(h) != p.Health {
			p.Detail = detail
		}
		p.Health = p.Health.Worse(h)
	}
	note := func(h status.Health, detail, do string) {
		problems = append(problems, status.Problem{Health: h, What: "pool " + s.Name + ": " + detail, Do: do})
		tell(h, detail)
	}
	planned := v.problems[s.Name]
	if g, ok := v.group(s.Name); ok && !g.Tagged(creatingTag) {
		v.members(&p, g)
		v.volumes(&p, s, g)
		v.imports(g, note)
		v.uncleared(g, note)
		v.redundancy(s, &p, g, note)
		v.thinPool(&p, g, note)
		v.capacity(&p, s, g, note)
	} else {
		p.Health, p.Sync = status.Failed, 0
		if len(planned) == 0 { // it is being brought up
			note(v.idle(s.Name, "isn't up yet", "wait for its disks"))
		}
	}
	for _, x := range planned {
		tell(x.Health, x.What)
	}
	if p.Health != status.Failed && !v.running(s.Name) {
		note(v.idle(s.Name, "isn't active", "see the log"))
	}
	return p, append(problems, planned...)
}

// idle is why a pool isn't active, for note: what is being done, or else detail.
func (v view) idle(name, detail, do string) (status.Health, string, string) {
	if step := v.doing[name]; step != "" {
		return status.Failed, "isn't active yet: " + step, "wait: this goes on by itself"
	}
	return status.Failed, detail, do
}

// members sorts the pool's disks into those that are here and those that are
// missing. LVM may not have noticed yet that one has gone.
func (v view) members(p *status.Pool, g lvm.Group) {
	for _, m := range v.facts.membersOf(g) {
		if m.here && slices.Contains(v.now, m.disk) {
			p.Disks = append(p.Disks, m.id)
			continue
		}
		p.Missing = append(p.Missing, m.id)
	}
}

// poolDevice is the device-mapper name of the thin pool proper.
func poolDevice(group string) string { return lvm.DeviceName(group, dataVolume) + "-tpool" }

// running tells whether the pool is active.
func (v view) running(name string) bool { return v.devices[poolDevice(name)].ThinPool != nil }

func (v view) thinPool(p *status.Pool, g lvm.Group, note func(status.Health, string, string)) {
	if data, ok := g.Volume(dataVolume); ok {
		p.Size = data.Size
	}
	d := v.devices[poolDevice(g.Name)]
	t := d.ThinPool
	if t == nil {
		return // not active, which pool says
	}
	p.Size = d.Size
	switch {
	case t.Failed:
		note(status.Failed, "the thin pool has failed", "restart; if that doesn't help, repair its metadata with LVM's tools")
		return
	case t.ReadOnly:
		note(status.Failed, "the thin pool is read-only, because its metadata can't be written", "restart; if that doesn't help, repair its metadata with LVM's tools")
	case t.OutOfSpace:
		note(status.Failed, "is full: writes wait, and fail soon", "delete data in the volumes' filesystems and trim them")
	case t.NeedsCheck:
		note(status.Degraded, "the thin pool's metadata needs a check", "restart")
	}
}

// inSync is how much of a mirror has its copies, in per cent. A dead leg has
// no copy of anything.
func inSync(r lvm.Raid) float64 {
	legs := len(r.Legs)
	if dead := strings.Count(r.Legs, "D"); dead > 0 && legs > 1 {
		return 100 * float64(max(legs-dead-1, 0)) / float64(legs-1)
	}
	if r.Total <= 0 || r.Redundant() {
		return 100
	}
	return 100 * float64(r.Synced) / float64(r.Total)
}
