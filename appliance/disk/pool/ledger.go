package pool

import (
	"maps"
	"slices"
	"time"

	"sanstick/appliance/disk/lvm"
)

// Some of what mending a pool depends on can't be seen on its disks, and must
// outlive the daemon and the machine: without it the wait for a spare would begin
// anew with each start, a disk that fails again and again would be trusted again,
// and an order to replace a disk would be forgotten halfway.

// An Entry is what is kept of one pool. The zero Entry says nothing.
type Entry struct {
	Lost       map[string]time.Time `json:"lost,omitempty"`       // physical volume, by UUID: since when it is missing or has failed
	Tried      map[string]Tries     `json:"tried,omitempty"`      // physical volume: attempts to use it again
	Replace    Replacement          `json:"replace,omitzero"`     // an order that isn't carried out yet
	Mismatches map[string]int64     `json:"mismatches,omitempty"` // volume: sectors that the last comparison of its copies found to differ
	Comparing  bool                 `json:"comparing,omitempty"`  // a comparison has begun and hasn't ended
	Instead    map[string]time.Time `json:"instead,omitempty"`    // disk: when it joined to take a lost one's place
}

// IsZero tells whether an entry says nothing.
func (r Entry) IsZero() bool {
	return len(r.Lost) == 0 && len(r.Tried) == 0 && r.Replace == Replacement{} && len(r.Mismatches) == 0 && !r.Comparing && len(r.Instead) == 0
}

func (r Entry) equal(o Entry) bool {
	same := func(a, b time.Time) bool { return a.Equal(b) }
	return maps.EqualFunc(r.Lost, o.Lost, same) && maps.EqualFunc(r.Instead, o.Instead, same) && maps.Equal(r.Mismatches, o.Mismatches) && r.Replace == o.Replace && r.Comparing == o.Comparing &&
		maps.EqualFunc(r.Tried, o.Tried, func(a, b Tries) bool { return a.N == b.N && a.Last.Equal(b.Last) })
}

// A Ledger keeps an Entry for each pool, by the UUID of its volume group. It is
// used by one goroutine at a time.
type Ledger interface {
	// Entry returns what is kept; the zero Entry if that is nothing.
	Entry(group string) Entry
	// Keep keeps it for good before it returns; the zero Entry: nothing is kept.
	Keep(group string, r Entry) error
}

// ledgerPeriod is how often a pool's entry is written at most, so that a disk
// that comes and goes doesn't wear out the stick. What is later than that is
// written when it is over.
const ledgerPeriod = 30 * time.Second

// recall adds to the facts what was kept of pools that weren't here before. m.mu
// is held.
func (m *Manager) recall() {
	if m.o.Ledger == nil {
		return
	}
	f, now := m.facts, m.o.Now()
	for _, g := range f.LVM.Groups {
		if _, known := m.kept[g.UUID]; known || !ours(g) {
			continue
		}
		r := m.o.Ledger.Entry(g.UUID)
		m.kept = with(m.kept, g.UUID, r)
		for pv, at := range r.Lost {
			f.Lost = with(f.Lost, pv, earlier(at, now)) // the clock may have been put back
		}
		for id, at := range r.Instead {
			f.Instead = with(f.Instead, id, Joined{g.UUID, earlier(at, now)})
		}
		for pv, t := range r.Tried {
			f.Tried = with(f.Tried, pv, Tries{t.N, earlier(t.Last, now)})
		}
		for v, n := range r.Mismatches {
			f.Mismatches = with(f.Mismatches, g.UUID+"/"+v, n)
		}
		if _, asked := f.Replace[g.Name]; !asked && r.Replace != (Replacement{}) {
			f.Replace = with(f.Replace, g.Name, r.Replace)
		}
		if r.Comparing {
			f.ScrubNow = with(f.ScrubNow, g.Name, true)
		}
	}
	m.facts = f
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// compared notes how comparing copies goes, and what it found. before is what the
// kernel said of volumes last.
func (f *Facts) compared(before map[string]lvm.Device) {
	for _, g := range f.LVM.Groups {
		if !ours(g) {
			continue
		}
		for _, v := range raidVolumes(g) {
			name := lvm.DeviceName(g.Name, v.Name)
			r, old := f.Devices[name].Raid, before[name].Raid
			switch {
			case r == nil:
			case r.Action == "check":
				f.ScrubNow = without(f.ScrubNow, g.Name) // it goes on
			case r.Action == "idle" && r.Redundant() && (r.Mismatches > 0 || old != nil && old.Action == "check"):
				f.Mismatches = with(f.Mismatches, g.UUID+"/"+v.Name, r.Mismatches)
			}
		}
	}
}

// entry is what is to be kept of a pool.
func (f Facts) entry(g lvm.Group) Entry {
	r := Entry{Replace: f.Replace[g.Name], Comparing: f.ScrubNow[g.Name]}
	for id, j := range f.Instead {
		if j.Group == g.UUID {
			r.Instead = with(r.Instead, id, j.At)
		}
	}
	for _, pv := range g.Physical {
		if at, ok := f.Lost[pv.UUID]; ok {
			r.Lost = with(r.Lost, pv.UUID, at)
		}
		if t, ok := f.Tried[pv.UUID]; ok && f.Now.Sub(t.Last) <= triesForget {
			r.Tried = with(r.Tried, pv.UUID, t)
		}
	}
	for _, v := range raidVolumes(g) {
		if n := f.Mismatches[g.UUID+"/"+v.Name]; n > 0 {
			r.Mismatches = with(r.Mismatches, v.Name, n)
		}
		if x := f.Devices[lvm.DeviceName(g.Name, v.Name)].Raid; x != nil && x.Action == "check" {
			r.Comparing = true
		}
	}
	return r
}

// ended tells whether nothing is left to do about an order to replace a disk.
func (f Facts) ended(g lvm.Group, r Replacement) bool {
	return diagnose(g, f).Lacks == 0 && !slices.ContainsFunc(f.membersOf(g), func(m member) bool {
		return m.id == r.Old || m.here && m.disk.Is(r.Old)
	})
}

// keep has the ledger keep what has changed of active pools, soon or now. It must
// hold op, and the kernel must have been asked. What can't be kept is in force
// nevertheless, and is tried again.
func (m *Manager) keep(now bool) {
	if m.o.Ledger == nil {
		return
	}
	f := m.known()
	for _, g := range f.LVM.Groups {
		active := slices.ContainsFunc(f.legs(g), func(l leg) bool { return l.letter != 0 })
		if !ours(g) || g.Tagged(creatingTag) || !active {
			continue // its disks are still coming
		}
		if r, ok := f.Replace[g.Name]; ok && f.ended(g, r) {
			m.mu.Lock()
			m.facts.Replace = without(m.facts.Replace, g.Name)
			m.mu.Unlock()
			f = m.known()
		}
		r := f.entry(g)
		m.mu.Lock()
		old, last := m.kept[g.UUID], m.keptAt[g.UUID]
		m.mu.Unlock()
		if r.equal(old) || !now && f.Now.Sub(last) < ledgerPeriod && !f.Now.Before(last) {
			continue
		}
		err := m.o.Ledger.Keep(g.UUID, r)
		m.mu.Lock()
		m.keptAt = with(m.keptAt, g.UUID, f.Now)
		if err == nil {
			m.kept = with(m.kept, g.UUID, r)
		}
		m.mu.Unlock()
		if err != nil {
			m.o.Log.Warn("what is known of a pool's disks is lost at the next restart", "pool", g.Name, "error", err)
		}
	}
}
