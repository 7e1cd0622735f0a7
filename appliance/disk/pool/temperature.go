package pool

import (
	"context"
	"maps"
	"time"

	"sanstick/appliance/disk"
	"sanstick/appliance/task"
)

// temperaturePeriod is how often disks are asked how warm they are.
const temperaturePeriod = time.Minute

// Temperatures returns the task that asks disks how warm they are, one after
// another, so that Status needn't wait for a disk.
func (m *Manager) Temperatures() task.Task {
	return task.Func("disk temperatures", func(ctx context.Context) error {
		tick := time.NewTicker(temperaturePeriod)
		defer tick.Stop()
		for {
			m.readTemperatures(ctx)
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

func (m *Manager) readTemperatures(ctx context.Context) {
	type answer struct {
		celsius int
		ok      bool
	}
	now := map[string]int{}
	for _, d := range m.known().Disks {
		if ctx.Err() != nil {
			return
		}
		a, err := ask(ctx, m, d, m.o.AskLimit, func() (a answer) {
			a.celsius, a.ok = disk.Temperature(m.o.Sysfs, d.Name)
			return a
		})
		if err == nil && a.ok {
			now[diskKey(d)] = a.celsius
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !maps.Equal(m.celsius, now) {
		m.celsius = now // a new map: Status may be reading the old one
	}
}
