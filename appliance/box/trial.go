package box

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sanstick/appliance/status"
	"sanstick/appliance/update"
)

// How a trial goes. Process 1 restarts the machine some time after trialLimit if
// the daemon doesn't.
const (
	trialLimit  = 5 * time.Minute  // since the machine was booted, to be healthy
	trialSteady = 20 * time.Second // for which it must be without a break
	trialPeriod = time.Second
)

// confirmedName is a file beside the API's socket that tells process 1 that the
// version that runs is to be kept.
const confirmedName = "confirmed"

// baseline is how the appliance was before an update: what it must be again.
type baseline struct {
	Config  string                   `json:"config"`        // status.Config.InForce
	Sum     string                   `json:"sum,omitempty"` // of what was in force; see settings
	Address bool                     `json:"address"`
	Pools   map[string]status.Health `json:"pools"`
	Missing map[string]int           `json:"missing"` // disks of each pool
	Targets map[string]int           `json:"targets"` // LUNs of each IQN that was served
}

// takeBaseline takes it from a snapshot, and from the sum of what is in force.
func takeBaseline(s status.Snapshot, sum string) baseline {
	b := baseline{Config: s.Config.InForce, Sum: sum, Address: hasAddress(s), Pools: map[string]status.Health{}, Missing: map[string]int{}, Targets: map[string]int{}}
	for _, p := range s.Pools {
		b.Pools[p.Name], b.Missing[p.Name] = p.Health, len(p.Missing)
	}
	for _, t := range s.Targets {
		if t.Serving {
			b.Targets[t.IQN] = len(t.LUNs)
		}
	}
	return b
}

func hasAddress(s status.Snapshot) bool {
	return slices.ContainsFunc(s.Interfaces, func(i status.Interface) bool { return len(i.Addresses) > 0 })
}

// strict is what is asked of an appliance of which nobody knows how it was.
func strict(s status.Snapshot) baseline {
	b := baseline{Config: inForceFile, Address: true, Pools: map[string]status.Health{}, Missing: map[string]int{}, Targets: map[string]int{}}
	for _, p := range s.Pools {
		b.Pools[p.Name] = status.OK
	}
	for _, t := range s.Targets {
		b.Targets[t.IQN] = 1
	}
	return b
}

// inForceRank orders the values of status.Config.InForce, best highest; others
// are below.
func inForceRank(inForce string) int {
	return slices.Index([]string{inForceNone, inForceDefaults, inForceLastGood, inForceFile}, inForce)
}

// worse says what is worse than before; nothing if it is healthy. A pool or
// target that isn't configured any more is missed if the configuration is the
// same to the last bit: then this version doesn't see what was there. sum is
// that of what is in force now.
func (b baseline) worse(s status.Snapshot, sum string) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if inForceRank(s.Config.InForce) < inForceRank(b.Config) {
		say("the configuration in force is %q, and was %q: %s", s.Config.InForce, b.Config, strings.Join(s.Config.Errors, "; "))
	}
	if b.Sum != "" && b.Sum == sum {
		for _, name := range slices.Sorted(maps.Keys(b.Pools)) {
			if !slices.ContainsFunc(s.Pools, func(p status.Pool) bool { return p.Name == name }) {
				say("there is no pool %s any more, though it is configured", name)
			}
		}
		for _, iqn := range slices.Sorted(maps.Keys(b.Targets)) {
			if !slices.ContainsFunc(s.Targets, func(t status.Target) bool { return t.IQN == iqn }) {
				say("there is no target %s any more, though it is configured", iqn)
			}
		}
	}
	if b.Address && !hasAddress(s) {
		say("there is no network address")
	}
	for _, p := range s.Pools {
		was, known := b.Pools[p.Name]
		switch {
		case !known:
		case rank(p.Health) > rank(was):
			say("pool %s is %s (%s), and was %s", p.Name, p.Health, orText(p.Detail, p.State), was)
		case len(p.Missing) > b.Missing[p.Name]:
			say("pool %s lacks disk %s", p.Name, strings.Join(p.Missing, ", "))
		}
	}
	for _, t := range s.Targets {
		luns, known := b.Targets[t.IQN]
		switch {
		case !known:
		case !t.Serving:
			say("target %s isn't served: %s", t.Name, orText(t.Error, "not yet"))
		case len(t.LUNs) < luns:
			say("target %s has %d LUNs, and had %d: %s", t.Name, len(t.LUNs), luns, t.Error)
		}
	}
	return out
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// onTrial keeps the version that runs once it is as good as the one before, or
// restarts the machine with that.
func (u *updates) onTrial(ctx context.Context) error {
	record := u.manager.Status().Record
	if record.Reason != "" { // it was given up before the daemon started again
		u.box.log.Error("The version on trial isn't kept; going back", "why", record.Reason)
		u.askRestart()
		<-ctx.Done()
		return nil
	}
	var before *baseline
	if raw := record.Before; len(raw) > 0 {
		before = new(baseline)
		if err := json.Unmarshal(raw, before); err != nil {
			u.box.log.Error("Cannot tell how the appliance was before the update", "error", err)
			before = nil
		}
	}
	end := time.Now().Add(trialLimit - uptime(u.box.o.ProcDir))
	t := trial{end: end}
	tick := time.NewTicker(trialPeriod)
	defer tick.Stop()
	for {
		s, err := u.box.snapshot(ctx)
		sum := u.box.settings().sum
		if ctx.Err() != nil {
			return nil
		}
		var complaints []string
		switch {
		case err != nil:
			complaints = []string{err.Error()}
		case before == nil:
			complaints = strict(s).worse(s, sum)
		default:
			complaints = before.worse(s, sum)
		}
		select {
		case <-u.box.storage.Ready():
		default:
			complaints = append(complaints, "nothing is served yet")
		}
		switch t.look(time.Now(), complaints) {
		case keep:
			if err := u.confirm(ctx); err != nil {
				t.complaints, t.steady = []string{err.Error()}, time.Time{}
				u.box.log.Error("Cannot keep the version on trial", "error", err)
				break
			}
			u.box.log.Info("The version on trial is healthy, and is kept")
			<-ctx.Done()
			return nil
		case giveUp:
			reason := strings.Join(t.complaints, "; ")
			u.box.log.Error("The version on trial isn't healthy; going back", "why", reason)
			if err := u.manager.Fail(reason); err != nil {
				u.box.log.Error("Cannot write down why", "error", err)
			}
			u.askRestart()
			<-ctx.Done()
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// trial decides when a version has been healthy for long enough, or not soon
// enough.
type trial struct {
	end        time.Time
	steady     time.Time // since when nothing is wrong; zero: something is
	complaints []string  // the newest that there were
}

type verdict int

const (
	wait verdict = iota
	keep
	giveUp
)

// look takes what is wrong now.
func (t *trial) look(now time.Time, complaints []string) verdict {
	if len(complaints) > 0 {
		t.complaints, t.steady = complaints, time.Time{}
	} else if t.steady.IsZero() {
		t.steady = now
	}
	switch {
	case !t.steady.IsZero() && now.Sub(t.steady) >= trialSteady:
		return keep
	case now.After(t.end) && t.steady.IsZero():
		return giveUp
	case now.After(t.end.Add(trialSteady)):
		t.complaints = append(t.complaints, "it wasn't steady")
		return giveUp
	}
	return wait
}

// confirm makes this version permanent, once a block of every volume that is
// served could be read.
func (u *updates) confirm(ctx context.Context) error {
	if err := u.box.storage.work(ctx, func(context.Context) error { return u.box.storage.readable() }); err != nil {
		return err
	}
	if err := u.manager.Confirm(ctx); err != nil {
		return err
	}
	u.tellInit()
	return nil
}

// readable reads a block of each volume. It runs on the goroutine that owns
// them.
func (s *storage) readable() error {
	for id, v := range s.volumes {
		if _, err := v.device.ReadAt(make([]byte, v.device.Info().LogicalBlock), 0); err != nil {
			return fmt.Errorf("cannot read volume %s: %w", id, err)
		}
	}
	return nil
}

// tellInit tells process 1, which otherwise restarts the machine.
func (u *updates) tellInit() {
	path := filepath.Join(filepath.Dir(u.box.o.Socket), confirmedName)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		u.box.log.Error("Cannot tell process 1 that this version is kept", "error", err)
	}
}

// uptime is how long the machine has run; 0 if nobody knows.
func uptime(procfs string) time.Duration {
	b, _ := os.ReadFile(filepath.Join(procfs, "uptime"))
	first, _, _ := strings.Cut(string(b), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

var _ update.Volume = (*bootVolume)(nil)
