package pool

import (
	"slices"
	"time"
)

// The stages of Bring, in their order. Those of several pools may overlap.
const (
	StageDisks   = "disks"   // until all disks are here, or are given up, and known
	StagePools   = "pools"   // made, mended or activated
	StageVolumes = "volumes" // made or changed
)

// A Stage is what a part of Bring took, from the first beginning to the last end.
type Stage struct {
	Name       string
	Begin, End time.Time
}

// Stages tells what the last Bring took.
func (m *Manager) Stages() []Stage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.stages)
}

type stages []Stage

func (s *stages) add(name string, begin, end time.Time) {
	for i := range *s {
		if x := &(*s)[i]; x.Name == name {
			x.End = end
			return
		}
	}
	*s = append(*s, Stage{name, begin, end})
}

func stageOf(s Step) string {
	if _, ok := s.(volumeStep); ok {
		return StageVolumes
	}
	return StagePools
}
