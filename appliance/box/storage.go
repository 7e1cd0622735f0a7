package box

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sanstick/appliance/config"
	"sanstick/appliance/disk/pool"
	"sanstick/appliance/status"
	"sanstick/appliance/task"
	"sanstick/target"
	"sanstick/target/block"
	"sanstick/target/block/blkdev"
)

// storage is the task that brings up the pools and serves their volumes.
type storage struct {
	box    *box
	log    *slog.Logger
	server *target.Server
	ready  chan struct{} // closed when the target listens

	changed chan struct{}              // filled when disks came or went
	applies chan applyRequest          // configurations to go over to
	works   chan func(context.Context) // what else changes what is served
	volumes map[volumeID]*opened
	space   *spaceUnits

	// How a volume, or a snapshot, of a pool is found and opened; tests replace it.
	find   func(pool, name string) (pool.Export, error)
	device func(path string, o blkdev.Options) (block.Device, error)

	mu      sync.Mutex // guards what follows, and each export's fields but config
	targets []*export  // in the order of the configuration; only Run's goroutines write it
	port    string     // of the portal, "" until it listens
}

// export is one target of the configuration. Only Run's goroutines write it,
// one after another.
type export struct {
	config config.Target
	units  []unit
	err    error // why it isn't served, or not wholly
	served bool
}

// unit is a volume as a LUN of a target. Targets that share a volume share
// what was opened.
type unit struct {
	lun status.LUN
	*opened
}

// id tells which volume it is.
func (u unit) id() volumeID { return volumeID{u.lun.Pool, u.lun.Volume} }

// serves tells whether a volume is among those that are served of a target.
func (e *export) serves(id volumeID) bool {
	return slices.ContainsFunc(e.units, func(u unit) bool { return u.id() == id })
}

func newStorage(b *box) (*storage, error) {
	s := &storage{box: b, log: b.log, ready: make(chan struct{}), changed: make(chan struct{}, 1), applies: make(chan applyRequest), works: make(chan func(context.Context)), volumes: map[volumeID]*opened{}, space: newSpaceUnits()}
	s.find = func(in, name string) (pool.Export, error) { return b.pools.Export(in, name) }
	s.device = func(path string, o blkdev.Options) (block.Device, error) { return blkdev.Open(path, o) }
	o := target.Options{Log: b.log, Memory: targetMemory(memory(b.o.ProcDir).Total), MaxConnections: maxConnections}
	if portal := b.portal; portal != "" {
		b.log.Info("Discovery names the portal that the hypervisor gave", "portal", portal)
		o.Advertise = func(net.Addr) []string { return []string{portal} }
	}
	var err error
	if s.server, err = target.New(o); err != nil {
		return nil, fmt.Errorf("cannot set up the target: %w", err)
	}
	for _, t := range b.settings().config.Targets {
		s.targets = append(s.targets, &export{config: t})
	}
	return s, nil
}

// maxConnections keeps what each connection costs by itself (some 400 KiB at
// worst) small on a machine of 512 MiB.
const maxConnections = 128

// targetMemory is how many bytes of the machine's memory the target may fill
// with data on its way: a fifth, which leaves room for the garbage collector,
// the system and LVM on the smallest machine.
func targetMemory(total uint64) int {
	return int(min(max(total/5, 64<<20), 1<<30))
}

func (s *storage) String() string         { return "storage" }
func (s *storage) Ready() <-chan struct{} { return s.ready }

// Run brings up the pools, then serves until ctx is cancelled. The port opens
// only when every volume that can be served is: an initiator that reconnects
// after a restart waits instead of being told that its target is unknown.
func (s *storage) Run(ctx context.Context) error {
	defer s.close()
	if err := s.box.pools.Bring(ctx, specs(*s.box.settings())); err != nil && ctx.Err() == nil {
		// Each pool's trouble is in the status, too; the others are served.
		s.log.Error("Not all pools are usable", "error", err)
	}
	if ctx.Err() != nil {
		return nil
	}
	brought := time.Now()
	for _, x := range s.box.pools.Stages() {
		s.box.boot.add(x.Name, x.Begin, x.End)
	}
	if err := s.box.pools.CheckSpace(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("Cannot see how full the pools are", "error", err)
	}
	if err := s.box.pools.RemoveTemporary(ctx, ""); err != nil {
		s.log.Error("Cannot remove what interrupted exports have left", "error", err)
	}
	s.keepNumbers(ctx)
	for _, e := range s.targets {
		s.export(e)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.box.o.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen for initiators: %w", err)
	}
	s.mu.Lock()
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		s.port = strconv.Itoa(a.Port)
	}
	s.mu.Unlock()
	s.box.boot.add(lastPhase, brought, time.Now())
	close(s.ready)
	return task.Run(ctx,
		task.Func("iSCSI at "+l.Addr().String(), func(ctx context.Context) error { return s.server.Serve(ctx, l) }),
		task.Func("late volumes", s.follow),
		s.box.pools.Watch(),
		s.box.pools.Temperatures(),
		s.box.pools.Pulse(),
		s.box.pools.Pace(),
		s.box.pools.Guard(),
		s.box.pools.Chores(),
		s.box.pools.Clearing(),
	)
}

// poolsChanged is told when disks came or went.
func (s *storage) poolsChanged() {
	s.box.copies.changed()
	select {
	case s.changed <- struct{}{}:
	default: // it will be looked at anyway
	}
}

// follow serves what can be served only later, because its disks came late. A
// target of which a part was served already ends its sessions for it; the
// initiators come back and find all LUNs.
func (s *storage) follow(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-s.applies:
			r.done <- s.apply(ctx, r.settings)
		case do := <-s.works:
			do(ctx)
		case <-s.changed:
		}
		for _, e := range s.targets {
			if !s.cameLate(e) {
				continue
			}
			s.keepNumbers(ctx)
			if e.served && errors.Is(e.err, pool.ErrClearing) {
				now := &export{config: e.config}
				s.change(e, now) // a new volume is no reason to end sessions
				s.exchange(e, now)
				continue
			}
			s.drop(e)
			s.export(e)
		}
	}
}

// exchange puts one export in another's place.
func (s *storage) exchange(old, e *export) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets[slices.Index(s.targets, old)] = e
}

// cameLate tells whether a volume that a target lacks is there now.
func (s *storage) cameLate(e *export) bool {
	for _, name := range e.config.Volumes {
		id := s.where(name)
		if e.serves(id) {
			continue
		}
		if _, err := s.volume(id); err == nil {
			return true
		}
	}
	return false
}

// specs translates the configuration into what package pool is to bring about.
func specs(s settings) []pool.Spec {
	var out []pool.Spec
	for _, p := range s.config.Pools {
		spec := pool.Spec{Name: p.Name, Layout: p.Layout, Disks: p.Disks, Spares: p.Spares, SpareAfter: p.SpareAfter, ScrubEvery: p.ScrubEvery, ActivateOnly: !s.trusted, Trash: s.config.Trash}
		for _, v := range s.config.Volumes {
			if v.Pool == p.Name {
				spec.Volumes = append(spec.Volumes, pool.VolumeSpec{
					Name: v.Name, Size: v.Size, Priority: v.Priority, From: v.From, Thick: v.Thick, Block: v.Block, Schedule: pool.Schedule(v.Snapshot),
					Served: servedSnapshots(s.config, v.Name),
				})
			}
		}
		out = append(out, spec)
	}
	return out
}

// servedSnapshots are a volume's snapshots that targets serve.
func servedSnapshots(c *config.Config, volume string) []string {
	var all []string
	for _, t := range c.Targets {
		for _, name := range t.Volumes {
			if strings.HasPrefix(name, volume+"@") {
				all = append(all, name)
			}
		}
	}
	return all
}

// export opens a target's volumes and lets the server serve it. A volume that
// isn't there leaves its LUN number empty; the others are served.
func (s *storage) export(e *export) {
	units, luns, failed := s.openAll(e.config)
	served := false
	if len(luns) > 0 || len(e.config.Volumes) == 0 {
		err := s.server.Add(targetConfig(e.config, luns))
		failed, served = errors.Join(failed, err), err == nil
	}
	s.set(e, units, served, failed)
}

// openAll opens the volumes of a target that are there. The error names the
// others.
func (s *storage) openAll(c config.Target) (units []unit, luns []target.LUN, err error) {
	var failed []error
	numbers := s.numbers(c)
	for _, name := range c.Volumes {
		i, ok := numbers[name]
		if !ok {
			failed = append(failed, fmt.Errorf("volume %s: the target has no LUN number left below %d; numbers of deleted volumes come free when the trash is emptied", name, maxLUN+1))
			continue
		}
		v, err := s.open(s.where(name))
		if err != nil {
			failed = append(failed, fmt.Errorf("LUN %d: %w", i, err))
			continue
		}
		u := unit{lun: v.info, opened: v}
		u.lun.Number = i
		units = append(units, u)
		luns = append(luns, target.LUN{Number: uint16(i), Unit: u.scsi})
	}
	return units, luns, errors.Join(failed...)
}

func targetConfig(c config.Target, luns []target.LUN) target.Config {
	return target.Config{
		IQN:        c.IQN,
		Alias:      c.Name,
		LUNs:       luns,
		Initiators: c.Initiators,
		CHAP:       chap(c.CHAP),
		Limit:      target.Limit{IOPS: c.Limit.IOPS, Bytes: int64(c.Limit.MBps) * 1_000_000},
	}
}

// set records what is served of a target.
func (s *storage) set(e *export, units []unit, served bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.units, e.err, e.served = units, err, served
	if err != nil {
		s.log.Error("Target is not wholly served", "target", e.config.Name, "error", err)
	}
}

func chap(c *config.CHAP) *target.CHAP {
	if c == nil {
		return nil
	}
	return &target.CHAP{User: c.User, Secret: c.Secret}
}

// close stops serving everything.
func (s *storage) close() {
	for _, e := range s.targets {
		s.drop(e)
	}
}

// drop stops serving one target.
func (s *storage) drop(e *export) {
	s.mu.Lock()
	units, served := e.units, e.served
	e.units, e.served = nil, false
	s.mu.Unlock()
	if served {
		if err := s.server.Remove(e.config.IQN); err != nil {
			s.log.Error("Cannot end target", "target", e.config.Name, "error", err)
		}
	}
	for _, u := range units {
		s.release(u.id())
	}
}

// status tells what is served. portals are the addresses to show.
func (s *storage) status(portals []string) []status.Target {
	sessions := map[string][]status.Session{}
	for _, x := range s.server.Sessions() {
		sessions[x.Target] = append(sessions[x.Target], status.Session{Initiator: x.Initiator, Address: x.Address, Since: x.Since})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []status.Target
	for _, e := range s.targets {
		t := status.Target{
			Name: e.config.Name, IQN: e.config.IQN, Portals: portals, Serving: e.served,
			Initiators: e.config.Initiators, CHAP: e.config.CHAP != nil, Sessions: sessions[e.config.IQN],
		}
		if e.err != nil {
			t.Error = e.err.Error()
		}
		for _, u := range e.units {
			u.lun.Size = u.device.Info().Size // it may have grown
			t.LUNs = append(t.LUNs, u.lun)
		}
		out = append(out, t)
	}
	return out
}
