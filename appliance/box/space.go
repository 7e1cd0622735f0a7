package box

import (
	"slices"
	"sync"

	"sanstick/appliance/config"
	"sanstick/appliance/disk/pool"
	"sanstick/target/scsi"
)

// spaceUnits are the units that are served, for the guard of the pools' space.
// Safe for concurrent use.
type spaceUnits struct {
	mu      sync.Mutex
	units   map[string]*scsi.Unit // by volume
	refused map[string]bool       // volumes; those too that aren't served now
	low     map[string]bool       // likewise
}

var _ pool.Units = (*spaceUnits)(nil)

func newSpaceUnits() *spaceUnits {
	return &spaceUnits{units: map[string]*scsi.Unit{}, refused: map[string]bool{}, low: map[string]bool{}}
}

// add has a unit do from now on what is said of its volume, and what was said
// last.
func (s *spaceUnits) add(volume string, u *scsi.Unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.units[volume] = u
	u.SetFull(s.refused[volume])
	if s.low[volume] {
		_ = u.SpaceLow() // a thick unit has nothing to be warned of
	}
}

func (s *spaceUnits) remove(volume string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.units, volume)
}

// SpaceLow implements pool.Units.
func (s *spaceUnits) SpaceLow(volume string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.low[volume] = true
	if u := s.units[volume]; u != nil {
		_ = u.SpaceLow() // as in add
	}
}

// SpaceEnough implements pool.Units.
func (s *spaceUnits) SpaceEnough(volume string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.low, volume)
	if u := s.units[volume]; u != nil {
		u.SpaceEnough()
	}
}

// Refuse implements pool.Units.
func (s *spaceUnits) Refuse(volume string, refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if refuse {
		s.refused[volume] = true
	} else {
		delete(s.refused, volume)
	}
	if u := s.units[volume]; u != nil {
		u.SetFull(refuse)
	}
}

// spaceOf is what a volume's unit tells initiators about space.
func (s *storage) spaceOf(name string) func() scsi.Space {
	vols := s.box.settings().config.Volumes
	i := slices.IndexFunc(vols, func(v config.Volume) bool { return v.Name == name })
	if i < 0 {
		return nil
	}
	from := vols[i].Pool
	return func() scsi.Space {
		used, available := s.box.pools.Space(from, name)
		return scsi.Space{Used: used, Available: available}
	}
}
