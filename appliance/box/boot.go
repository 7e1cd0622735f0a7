package box

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"sanstick/appliance/status"
	"sanstick/appliance/sys"
)

// lastPhase ends when initiators can log in.
const lastPhase = "targets"

// bootPhases notes what the machine's start took, once: what a daemon does that
// was started again isn't part of it. Safe for concurrent use.
type bootPhases struct {
	kept sys.BootLog
	over bool // it was over when this daemon started
	log  *slog.Logger
}

func newBootPhases(kept sys.BootLog, log *slog.Logger) *bootPhases {
	b := &bootPhases{kept: kept, log: log}
	all, err := kept.Read()
	if err != nil {
		log.Warn("Cannot tell what the start took", "error", err)
	}
	b.over = slices.ContainsFunc(all, func(p sys.BootPhase) bool { return p.Name == lastPhase })
	return b
}

// add notes a phase.
func (b *bootPhases) add(name string, begin, end time.Time) {
	if b.over {
		return
	}
	now := sys.SinceBoot()
	p := sys.BootPhase{Name: name, Begin: now - time.Since(begin), End: now - time.Since(end)}
	if err := b.kept.Add(p); err != nil {
		b.log.Warn("Cannot tell what the start took", "error", err)
	}
}

func (b *bootPhases) status() []status.BootPhase {
	all, _ := b.kept.Read() // what can be read of it was told at the start
	var out []status.BootPhase
	for _, p := range all {
		out = append(out, status.BootPhase{Name: p.Name, Begin: p.Begin.Seconds(), Took: (p.End - p.Begin).Seconds()})
	}
	return out
}

// noteNetwork notes when the first address is there.
func (b *box) noteNetwork(ctx context.Context) error {
	begin := time.Now()
	select {
	case <-b.network.Ready():
		b.boot.add("network", begin, time.Now())
	case <-ctx.Done():
		return nil
	}
	<-ctx.Done()
	return nil
}
