package pool

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/status"
)

// maxRounds bounds planning anew: creating a pool takes four rounds, replacing a
// disk five.
const maxRounds = 16

// A bringer is one run of Bring. It holds Manager.op all the time.
type bringer struct {
	m       *Manager
	all     []Spec
	pending []Spec
	stamped map[string]string // disks, by kernel name, that a pool was made of in this run

	started, changed time.Time // of the run; of the last change of disks
	lvmRead          bool
	waiting          string // what was told on the log last
	stages           stages
}

func (m *Manager) newBringer(specs []Spec) *bringer {
	now := time.Now()
	return &bringer{m: m, all: specs, pending: slices.Clone(specs), stamped: map[string]string{}, started: now, changed: now}
}

// run works until every pool is done or given up.
func (b *bringer) run(ctx context.Context) error {
	if err := b.look(ctx); err != nil { // also so that Status can tell what the disks are
		return err
	}
	if err := b.m.resume(ctx); err != nil && ctx.Err() == nil {
		b.m.o.Log.Error("cannot resume volumes", "error", err)
	}
	if len(b.pending) == 0 {
		return nil
	}
	w, err := b.m.watchDisks(ctx)
	if err != nil {
		// Without uevents there is still the clock.
		b.m.o.Log.Warn("cannot listen for new disks", "error", err)
	}
	defer w.stop()
	for {
		if err := b.look(ctx); err != nil {
			return err
		}
		var later []Spec
		var reasons []string
		for _, s := range b.pending {
			reason, err := b.one(ctx, s)
			if err != nil {
				return err
			}
			if reason != "" {
				later = append(later, s)
				reasons = append(reasons, s.Name+": "+reason)
			}
		}
		if b.pending = later; len(later) == 0 {
			if err := b.m.readKernel(ctx); err != nil {
				return err
			}
			return b.m.reunite(ctx)
		}
		if told := fmt.Sprint(reasons); told != b.waiting {
			b.waiting = told
			b.m.o.Log.Info("waiting for disks", "pools", reasons, "until", b.deadline().Sub(b.started).Round(time.Second))
		}
		if err := b.wait(ctx, w); err != nil {
			return err
		}
	}
}

// look brings the facts up to date.
func (b *bringer) look(ctx context.Context) error {
	changed, err := b.m.readDisks()
	if err != nil {
		return err
	}
	if changed && b.lvmRead {
		b.changed = time.Now()
	}
	if changed || !b.lvmRead {
		if err := b.m.checkLVM(ctx, changed); err != nil {
			return err
		}
		b.lvmRead = true
	}
	return nil
}

// one plans a pool and does what is to be done. It returns what to wait for,
// or nothing if the pool is done. Errors of steps are the pool's problem; an
// error is returned if going on makes no sense.
func (b *bringer) one(ctx context.Context, s Spec) (wait string, err error) {
	var failed []status.Problem
	for range maxRounds {
		without := false // a disk that couldn't be taken back, or be written to
		for _, d := range candidates(s, b.m.known()) {
			b.m.look(ctx, d, b.m.o.AskLimit)
		}
		if err := b.m.readKernel(ctx); err != nil {
			return "", err
		}
		plan := Make(s, b.m.known(), b.taken(s))
		switch {
		case plan.Wait != "" && time.Now().Before(b.deadline()):
			return plan.Wait, nil
		case plan.Settle && len(plan.Steps) > 0 && time.Since(b.changed) < b.m.o.Quiet:
			return "further disks", nil
		}
		b.m.setProblems(s.Name, plan.Problems)
		b.stages.add(StageDisks, b.started, time.Now())
		for _, step := range plan.Steps {
			_, restores := step.(RestoreDisk)
			if _, mends := step.(mendStep); mends && !restores && len(failed) > 0 {
				continue
			}
			if err := b.step(ctx, s.Name, step); err != nil {
				if ctx.Err() != nil {
					return "", ctx.Err()
				}
				b.m.o.Log.Error("pool", "pool", s.Name, "step", step.String(), "error", err)
				if b.m.shun(s.Name, err) {
					without = true
					break
				}
				failed = append(failed, stepProblem(s.Name, step, err))
				b.m.hold(s.Name)
				without = without || restores
				if !independent(step) {
					break
				}
				continue
			}
			if fills(step) { // Status is to tell it while the next volume is still to come
				if err := b.m.readLVM(ctx); err != nil {
					return "", err
				}
				if err := b.m.readKernel(ctx); err != nil {
					return "", err
				}
			}
		}
		if len(failed) == 0 && !slices.ContainsFunc(plan.Steps, changesMetadata) {
			return "", nil
		}
		if slices.ContainsFunc(plan.Steps, isNewVolume) {
			if err := b.m.flushPool(s.Name); err != nil {
				failed = append(failed, status.Problem{Health: status.Degraded, What: fmt.Sprintf("pool %s: %v", s.Name, err), Do: "see the log; restart to try again"})
			}
		}
		if err := b.m.checkLVM(ctx, len(failed) > 0 || without); err != nil {
			return "", err
		}
		if len(failed) > 0 && !without {
			b.m.setProblems(s.Name, append(failed, plan.Problems...))
			return "", nil
		}
	}
	b.m.setProblems(s.Name, []status.Problem{{Health: status.Failed, What: fmt.Sprintf("pool %s doesn't get ready: planning finds no end", s.Name), Do: "report this"}})
	return "", nil
}

// step does one step and remembers what it makes obsolete.
func (b *bringer) step(ctx context.Context, pool string, step Step) error {
	start := time.Now()
	var written []string
	switch s := step.(type) {
	case StampDisk:
		written = []string{s.Path}
		b.stamped[strings.TrimPrefix(s.Path, "/dev/")] = pool
	case CreateGroup:
		written = s.Paths
	}
	b.m.forget(written...)
	defer b.m.forget(written...) // somebody may have looked in between
	b.m.setDoing(pool, step.String())
	defer b.m.setDoing(pool, "")
	if err := b.m.apply(ctx, step); err != nil {
		return err
	}
	b.stages.add(stageOf(step), start, time.Now())
	b.m.o.Log.Info(step.String(), "pool", pool, "risk", step.Risk(), "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// setDoing notes what is being done to a pool; nothing, if what is empty.
func (m *Manager) setDoing(pool, what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if what == "" {
		m.doing = without(m.doing, pool)
	} else {
		m.doing = with(m.doing, pool, what)
	}
}

// stepProblem says what a step's failure means. A volume that couldn't be
// created or grown leaves the others usable.
func stepProblem(pool string, step Step, err error) status.Problem {
	p := status.Problem{Health: status.Failed, What: fmt.Sprintf("pool %s: %v", pool, err), Do: "see the log; restart to try again"}
	_, volume := step.(volumeStep)
	_, mends := step.(mendStep)
	if _, activation := step.(Activate); activation || volume || mends || independent(step) {
		p.Health = status.Degraded
	}
	if strings.Contains(err.Error(), "Manual repair required") {
		p.Health, p.Do = status.Failed, "its metadata is damaged: sanctl pool repair "+pool+" rebuilds it and keeps the old one"
	}
	return p
}

// fills tells whether a disk is being filled after a step.
func fills(s Step) bool {
	switch s.(type) {
	case RepairVolume, ReplaceLeg, AddCopy:
		return true
	}
	return false
}

// independent tells whether later steps make sense after this one has failed.
func independent(step Step) bool {
	switch step.(type) {
	case CreateVolume, CloneVolume, CreateThick, GrowVolume, Remember, MarkUse:
		return true
	}
	return false
}

// taken are the disks, by kernel name, that other pools are made of in this
// run or that the configuration names for them.
func (b *bringer) taken(s Spec) map[string]string {
	taken := b.m.known().namedFor(b.all, s.Name)
	for d, pool := range b.stamped {
		if pool != s.Name {
			taken[d] = pool
		}
	}
	return taken
}

// deadline is when missing disks are given up.
func (b *bringer) deadline() time.Time {
	p := b.m.o.Patience
	d := b.started.Add(p)
	if later := b.changed.Add(p / 2); later.After(d) {
		d = later
	}
	if last := b.started.Add(3 * p); d.After(last) {
		d = last
	}
	return d
}

// wait returns when a disk has come or gone, or time has run out for
// something.
func (b *bringer) wait(ctx context.Context, w *diskWatch) error {
	limit := time.Until(b.deadline())
	if quiet := time.Until(b.changed.Add(b.m.o.Quiet)); quiet > 0 {
		limit = min(limit, quiet)
	}
	// Uevents may be lost, so look now and then in any case.
	timer := time.NewTimer(max(min(limit, time.Second), time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.events:
	case <-timer.C:
	}
	return nil
}

func (m *Manager) setProblems(pool string, p []status.Problem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problems = with(m.problems, pool, p)
}

// hold leaves a pool alone for a while.
func (m *Manager) hold(pool string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heldOff = with(m.heldOff, pool, m.o.Now().Add(holdOff))
}
