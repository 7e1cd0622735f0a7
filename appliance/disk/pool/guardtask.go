package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
	"sanstick/appliance/task"
)

// Units is who serves the volumes, as far as the guard tells it about space.
type Units interface {
	// SpaceLow tells those who use a volume that space behind it is about to end,
	// and those who come to it later, until SpaceEnough. Neither must block.
	SpaceLow(pool, volume string)
	SpaceEnough(pool, volume string)
	// Refuse has whatever may take space refused for a volume, or let through
	// again. It is called over and over with the same. It must not block.
	Refuse(pool, volume string, refuse bool)
}

// guard watches the space of all pools. Its task owns it, but for what is in
// Manager.space.
type guard struct {
	m      *Manager
	states map[string]*guardState // by pool
	grown  chan growing           // what has ended
	busy   map[string]bool        // pools that are being grown
	wait   map[string]time.Time   // when growing may be tried again
}

// growing is the end of growing a pool.
type growing struct {
	pool string
	err  error
}

// spaceView is what the guard last found out about a pool, for Status.
type spaceView struct {
	facts     spaceFacts
	refused   []string
	perSecond float64
	end       time.Time
	watched   time.Duration
	failed    string // why growing failed; empty if it didn't
}

// Guard returns the task that watches how full the pools are. It grows them
// while their groups have room, tells initiators when space gets low, and has
// writes refused, volume by volume, before a pool is full; see guardState. It
// asks the kernel only, and LVM to grow.
func (m *Manager) Guard() task.Task {
	return task.Func("space guard", func(ctx context.Context) error {
		g := &guard{m: m, states: map[string]*guardState{}, grown: make(chan growing), busy: map[string]bool{}, wait: map[string]time.Time{}}
		return g.run(ctx)
	})
}

// CheckSpace looks once, so that no volume is served that must refuse writes.
func (m *Manager) CheckSpace(ctx context.Context) error {
	g := &guard{m: m, states: map[string]*guardState{}, busy: map[string]bool{}}
	_, _, err := g.look(ctx)
	return err
}

// Space tells how many bytes of its pool a volume takes, and how many there
// still are for all of the pool's volumes. It doesn't block.
func (m *Manager) Space(pool, volume string) (used, available int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.space[pool]
	for _, x := range v.facts.volumes {
		if x.name == volume {
			used = x.used
		}
	}
	return used, v.facts.data.free() + v.facts.room
}

// Refuses tells whether writes to a volume are refused for lack of space, for
// those who write to it past the units.
func (m *Manager) Refuses(pool, volume string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.space[pool].refused, volume)
}

func (g *guard) run(ctx context.Context) error {
	defer func() { // whoever was started is waited for
		for len(g.busy) > 0 {
			delete(g.busy, (<-g.grown).pool)
		}
	}()
	told := ""
	for {
		next, grow, err := g.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && err.Error() != told:
			g.m.o.Log.Error("cannot see how full the pools are", "error", err)
		}
		told = fmt.Sprint(err)
		for pool, a := range grow {
			g.start(ctx, pool, a)
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case x := <-g.grown:
			timer.Stop()
			delete(g.busy, x.pool)
			g.wait[x.pool] = time.Now().Add(growAgain)
			if x.err != nil {
				g.wait[x.pool] = time.Now().Add(growLater)
			}
		case <-timer.C:
		}
	}
}

// How long a pool that was just grown is left alone, and one that couldn't be.
const (
	growAgain = 2 * time.Second
	growLater = 30 * time.Second
)

// look looks at all pools once and does what can be done at once. It returns
// when to look again, and what is to be grown.
func (g *guard) look(ctx context.Context) (next time.Duration, grow map[string]spaceActions, err error) {
	list, err := g.m.lvm.Devices(ctx)
	if err != nil {
		return fastPoll, nil, err // nothing is let go, nothing is refused that wasn't
	}
	devices := map[string]lvm.Device{}
	for _, d := range list {
		devices[d.Name] = d
	}
	g.m.mu.Lock()
	v := view{specs: g.m.specs, facts: g.m.facts, devices: devices}
	g.m.mu.Unlock()
	now := time.Now()
	next, grow = slowPoll, map[string]spaceActions{}
	for _, s := range v.specs {
		f, ok := v.space(s, now)
		if !ok {
			g.forget(s.Name)
			continue
		}
		st := g.states[s.Name]
		if st == nil {
			st = &guardState{}
			g.states[s.Name] = st
		}
		before := st.refused
		a := st.look(f)
		g.carryOut(s, f, a, st, before)
		g.publish(s.Name, st, f)
		next = min(next, a.next)
		if f.full && f.data.free() > 0 {
			g.wake(ctx, s.Name)
		}
		if (a.growData > 0 || a.growMeta > 0) && !g.busy[s.Name] && !now.Before(g.wait[s.Name]) && !s.ActivateOnly {
			grow[s.Name] = a
		}
	}
	return next, grow, nil
}

// wakeLimit bounds how long a pool may take to write down its metadata.
const wakeLimit = 10 * time.Second

// wake has a thin pool that was full notice that it has space again. The kernel
// looks when it commits the pool's metadata. It doesn't always do that by itself
// after blocks were unmapped, and then the pool stays full, and writes fail after
// a minute.
func (g *guard) wake(ctx context.Context, pool string) {
	ctx, cancel := context.WithTimeout(ctx, wakeLimit)
	defer cancel()
	if err := g.m.lvm.CommitPool(ctx, pool, dataVolume); err != nil {
		g.m.o.Log.Warn("cannot wake a pool that was full", "pool", pool, "error", err)
		return
	}
	g.m.o.Log.Info("pool was full and has space again", "pool", pool)
}

// space collects what the guard wants to know of a pool; false if it isn't
// active.
func (v view) space(s Spec, at time.Time) (spaceFacts, bool) {
	g, ok := v.group(s.Name)
	d := v.devices[poolDevice(s.Name)]
	t := d.ThinPool
	if !ok || t == nil || t.Failed || t.TotalChunks <= 0 {
		return spaceFacts{}, false
	}
	const metaBlock = 4 * kib
	chunk := d.Size / t.TotalChunks
	room := roomToGrow(g, v.devices)
	f := spaceFacts{
		at:   at,
		data: usage{t.UsedChunks * chunk, t.TotalChunks * chunk},
		meta: usage{t.UsedMetadata * metaBlock, t.TotalMetadata * metaBlock},
		room: room.data.bytes(), metaRoom: room.meta.bytes(),
		full: t.OutOfSpace, broken: t.NeedsCheck,
	}
	if t.ReadOnly { // it can't note anything new: it is without room for metadata, or that is broken
		f.meta.used = f.meta.total
	}
	for _, lv := range g.Logical {
		x := v.devices[lvm.DeviceName(g.Name, lv.Name)]
		switch {
		case !isThin(lv) || lv.Hidden:
			continue
		case !writable(lv):
			f.worst += lv.Size // of what it holds nothing is known until it is active
			if x.Thin != nil {
				f.worst += x.Thin.Mapped - lv.Size
			}
			continue
		}
		f.worst += lv.Size
		if x.Thin == nil {
			continue
		}
		w := guarded{name: lv.Name, used: x.Thin.Mapped, priority: DefaultPriority}
		if i := slices.IndexFunc(s.Volumes, func(w VolumeSpec) bool { return w.Name == lv.Name }); i >= 0 {
			w.priority = s.Volumes[i].Priority
		}
		f.volumes = append(f.volumes, w)
	}
	return f, true
}

// carryOut tells the units.
func (g *guard) carryOut(s Spec, f spaceFacts, a spaceActions, st *guardState, before []string) {
	if !slices.Equal(before, a.refuse) {
		g.m.o.Log.Warn("writes are refused", "pool", s.Name, "volumes", a.refuse, "before", before,
			"free", status.FormatBytes(f.data.free()), "of", status.FormatBytes(f.data.total),
			"metadata", fmt.Sprintf("%d %%", f.meta.percent(0)))
	}
	units := g.m.o.Units
	if units == nil {
		return
	}
	for _, v := range f.volumes {
		units.Refuse(s.Name, v.name, slices.Contains(a.refuse, v.name))
		if !a.low {
			units.SpaceEnough(s.Name, v.name)
		}
	}
	if a.tell || !a.low {
		st.told = nil
	}
	if a.tell {
		g.m.o.Log.Warn("space is low", "pool", s.Name, "percent", f.data.percent(f.room), "metadata", f.meta.percent(f.metaRoom))
	}
	for _, v := range f.volumes { // some may be new
		if a.low && !slices.Contains(st.told, v.name) {
			units.SpaceLow(s.Name, v.name)
			st.told = append(st.told, v.name)
		}
	}
}

// forget drops what is known of a pool that isn't active.
func (g *guard) forget(pool string) {
	delete(g.states, pool)
	g.m.mu.Lock()
	defer g.m.mu.Unlock()
	g.m.space = without(g.m.space, pool)
}

func (g *guard) publish(pool string, st *guardState, f spaceFacts) {
	v := spaceView{facts: f, refused: slices.Clone(st.refused), watched: f.at.Sub(st.since)}
	v.perSecond, v.end = st.outlook(f.data.free() + f.room)
	g.m.mu.Lock()
	defer g.m.mu.Unlock()
	v.failed = g.m.space[pool].failed
	g.m.space = with(g.m.space, pool, v)
}

// start grows a pool in the background: LVM may be busy, and looking must go
// on. The end is told by g.grown.
func (g *guard) start(ctx context.Context, pool string, a spaceActions) {
	g.busy[pool] = true
	go func() {
		err := g.m.growPool(ctx, pool, a)
		if err != nil && ctx.Err() == nil {
			g.m.o.Log.Error("cannot grow pool", "pool", pool, "error", err)
		}
		g.m.mu.Lock()
		v := g.m.space[pool]
		if v.failed = ""; err != nil && ctx.Err() == nil {
			v.failed = err.Error()
		}
		g.m.space = with(g.m.space, pool, v)
		g.m.mu.Unlock()
		g.grown <- growing{pool, err}
	}()
}

// growPool grows a pool's data and metadata as far as there is room now.
func (m *Manager) growPool(ctx context.Context, pool string, a spaceActions) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	if err := m.readLVM(ctx); err != nil {
		return err
	}
	devices, err := m.lvm.Devices(ctx)
	if err != nil {
		return err
	}
	byName := map[string]lvm.Device{}
	for _, d := range devices {
		byName[d.Name] = d
	}
	g, ok := view{facts: m.known()}.group(pool)
	if !ok || g.Tagged(creatingTag) {
		return errors.New("it isn't here any more")
	}
	now, err := disk.Scan(m.o.Sysfs)
	if err != nil {
		return err
	}
	if gone := m.known().gone(g, now); gone != "" {
		return fmt.Errorf("disk %s is missing", gone)
	}
	room := roomToGrow(g, byName)
	var errs []error
	for _, x := range []struct {
		what   string
		bytes  int64
		room   rounds
		extend func(context.Context, string, string, int64, ...string) error
	}{
		{"metadata", a.growMeta, room.meta, m.lvm.ExtendPoolMetadata},
		{"data", a.growData, room.data, m.lvm.ExtendPoolData},
	} {
		if x.bytes <= 0 {
			continue
		}
		for _, r := range x.room.atMost(max(x.bytes, 4*g.ExtentSize)) {
			bytes, start := r.bytes, time.Now()
			err := x.extend(ctx, pool, dataVolume, bytes, r.on...)
			for errors.Is(err, lvm.ErrNoRoom) && bytes > g.ExtentSize { // LVM knows better
				bytes = max(bytes/2/g.ExtentSize*g.ExtentSize, g.ExtentSize)
				err = x.extend(ctx, pool, dataVolume, bytes, r.on...)
			}
			if err != nil {
				errs = append(errs, err)
				break
			}
			m.o.Log.Info("grew pool", "pool", pool, "what", x.what, "by", status.FormatBytes(bytes), "took", time.Since(start).Round(time.Millisecond))
		}
	}
	return errors.Join(append(errs, m.readLVM(ctx))...)
}

// gone names a disk of a group that isn't here, though LVM may not know yet.
func (f Facts) gone(g lvm.Group, now []disk.Disk) string {
	for _, m := range f.membersOf(g) {
		if !m.here || !slices.Contains(now, m.disk) {
			return m.id
		}
	}
	return ""
}
