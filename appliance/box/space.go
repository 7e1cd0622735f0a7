package box

import (
	"sync"

	"sanstick/appliance/disk/pool"
	"sanstick/target/scsi"
)

// spaceUnits are the units that are served, for the guard of the pools' space.
// Safe for concurrent use.
type spaceUnits struct {
	mu      sync.Mutex
	units   map[volumeID]*scsi.Unit
	refused map[volumeID]bool // those too that aren't served now
	low     map[volumeID]bool // likewise
}

var _ pool.Units = (*spaceUnits)(nil)

func newSpaceUnits() *spaceUnits {
	return &spaceUnits{units: map[volumeID]*scsi.Unit{}, refused: map[volumeID]bool{}, low: map[volumeID]bool{}}
}

// add has a unit do from now on what is said of its volume, and what was said
// last.
func (s *spaceUnits) add(volume volumeID, u *scsi.Unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.units[volume] = u
	u.SetFull(s.refused[volume])
	if s.low[volume] {
		_ = u.SpaceLow() // a thick unit has nothing to be warned of
	}
}

func (s *spaceUnits) remove(volume volumeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.units, volume)
}

// rename has what is said of a volume be said of its new name.
func (s *spaceUnits) rename(old, now volumeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.units[now], s.refused[now], s.low[now] = s.units[old], s.refused[old], s.low[old]
	delete(s.units, old)
	delete(s.refused, old)
	delete(s.low, old)
}

// SpaceLow implements pool.Units.
func (s *spaceUnits) SpaceLow(pool, volume string) {
	id := volumeID{pool, volume}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.low[id] = true
	if u := s.units[id]; u != nil {
		_ = u.SpaceLow() // as in add
	}
}

// SpaceEnough implements pool.Units.
func (s *spaceUnits) SpaceEnough(pool, volume string) {
	id := volumeID{pool, volume}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.low, id)
	if u := s.units[id]; u != nil {
		u.SpaceEnough()
	}
}

// Refuse implements pool.Units.
func (s *spaceUnits) Refuse(pool, volume string, refuse bool) {
	id := volumeID{pool, volume}
	s.mu.Lock()
	defer s.mu.Unlock()
	if refuse {
		s.refused[id] = true
	} else {
		delete(s.refused, id)
	}
	if u := s.units[id]; u != nil {
		u.SetFull(refuse)
	}
}

// spaceOf is what a volume's unit tells initiators about space.
func (s *storage) spaceOf(v *opened) func() scsi.Space {
	return func() scsi.Space {
		id := v.at.Load()
		used, available := s.box.pools.Space(id.pool, id.name)
		return scsi.Space{Used: used, Available: available}
	}
}
