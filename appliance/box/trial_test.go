package box

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
)

// wellServed is an appliance with a pool and a target.
func wellServed() status.Snapshot {
	return status.Snapshot{
		Config:     status.Config{InForce: inForceFile},
		Interfaces: []status.Interface{{Name: "eth0", Addresses: []string{"10.0.0.1/24"}}},
		Pools:      []status.Pool{{Name: "tank", Health: status.OK, State: "healthy"}},
		Targets: []status.Target{
			{Name: "vm1", IQN: "iqn.x:vm1", Serving: true, LUNs: []status.LUN{{Number: 0}, {Number: 1}}},
			{Name: "vm2", IQN: "iqn.x:vm2", Serving: true},
		},
	}
}

func TestBaseline(t *testing.T) {
	degraded := wellServed()
	degraded.Pools[0] = status.Pool{Name: "tank", Health: status.Degraded, Missing: []string{"D1"}}
	degraded.Targets[1].Serving = false
	none := status.Snapshot{Config: status.Config{InForce: inForceNone}}
	lastGood := wellServed()
	lastGood.Config.InForce = inForceLastGood
	for _, tt := range []struct {
		name   string
		before status.Snapshot
		change func(*status.Snapshot)
		want   string // empty: healthy; "other file" in the name: the configuration isn't the same
	}{
		{"the same", wellServed(), func(s *status.Snapshot) {}, ""},
		{"nothing was served", none, func(s *status.Snapshot) {}, ""},
		{"as bad as before", degraded, func(s *status.Snapshot) { *s = degraded }, ""},
		{"better than before", degraded, func(s *status.Snapshot) {}, ""},
		{"a pool more that is bad", wellServed(), func(s *status.Snapshot) { s.Pools = append(s.Pools, status.Pool{Name: "new", Health: status.Failed}) }, ""},
		{"a target that isn't in the other file any more", wellServed(), func(s *status.Snapshot) { s.Targets = s.Targets[:1] }, ""},
		{"a pool that isn't in the other file any more", wellServed(), func(s *status.Snapshot) { s.Pools = nil }, ""},
		{"a target isn't there, and the file is the same", wellServed(), func(s *status.Snapshot) { s.Targets = s.Targets[:1] }, "there is no target iqn.x:vm2 any more"},
		{"a target isn't there that wasn't served", degraded, func(s *status.Snapshot) { s.Targets = s.Targets[:1] }, ""},
		{"a pool isn't there, and the file is the same", wellServed(), func(s *status.Snapshot) { s.Pools = nil }, "there is no pool tank any more"},
		{"no configuration of another file, and the last good one before", lastGood, func(s *status.Snapshot) {
			*s = status.Snapshot{Config: status.Config{InForce: inForceNone, Errors: []string{"line 2 is wrong"}}, Interfaces: s.Interfaces}
		}, `the configuration in force is "none", and was "last-good": line 2 is wrong`},
		{"the last good one again", lastGood, func(s *status.Snapshot) { s.Config.InForce = inForceLastGood }, ""},
		{"the file instead of the last good one", lastGood, func(s *status.Snapshot) {}, ""},
		{"another problem", wellServed(), func(s *status.Snapshot) { s.Problems = []status.Problem{{Health: status.Degraded}} }, ""},
		{"the pool is worse", wellServed(), func(s *status.Snapshot) { s.Pools[0].Health, s.Pools[0].State = status.Degraded, "degraded-failed" }, "pool tank is degraded (degraded-failed), and was ok"},
		{"a second disk is missing", degraded, func(s *status.Snapshot) {
			s.Pools[0] = status.Pool{Name: "tank", Health: status.Degraded, Missing: []string{"D1", "D2"}}
		}, "pool tank lacks disk D1, D2"},
		{"a target isn't served", wellServed(), func(s *status.Snapshot) { s.Targets[0].Serving, s.Targets[0].Error = false, "no volume" }, "target vm1 isn't served: no volume"},
		{"a LUN is gone", wellServed(), func(s *status.Snapshot) { s.Targets[0].LUNs = s.Targets[0].LUNs[:1] }, "target vm1 has 1 LUNs, and had 2"},
		{"the file isn't understood", wellServed(), func(s *status.Snapshot) {
			s.Config = status.Config{InForce: inForceLastGood, Errors: []string{"line 1 is wrong"}}
		}, `the configuration in force is "last-good", and was "file": line 1 is wrong`},
		{"no address", wellServed(), func(s *status.Snapshot) { s.Interfaces[0].Addresses = nil }, "no network address"},
	} {
		raw, err := json.Marshal(takeBaseline(tt.before, sumOf([]byte("file"))))
		if err != nil {
			t.Fatal(err)
		}
		var before baseline // as it comes back from the stick
		if err := json.Unmarshal(raw, &before); err != nil {
			t.Fatal(err)
		}
		now, file := wellServed(), "file"
		if strings.Contains(tt.name, "other file") {
			file = "other"
		}
		tt.change(&now)
		if got := strings.Join(before.worse(now, sumOf([]byte(file))), "; "); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Without a word on how it was, all must be well.
func TestStrict(t *testing.T) {
	if got := strict(wellServed()).worse(wellServed(), ""); len(got) != 1 || !strings.Contains(got[0], "target vm2 has 0 LUNs") {
		t.Errorf("a target without LUNs: %q", got)
	}
	bad := wellServed()
	bad.Pools[0].Health = status.Degraded
	if got := strings.Join(strict(bad).worse(bad, ""), "; "); !strings.Contains(got, "pool tank") {
		t.Errorf("a degraded pool: %q", got)
	}
}

func TestTrialLook(t *testing.T) {
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		wrong  func(s int) bool // whether something is wrong after s seconds
		want   verdict
		at     int // seconds
		reason string
	}{
		{"healthy at once", func(int) bool { return false }, keep, 20, ""},
		{"healthy later", func(s int) bool { return s < 100 }, keep, 120, ""},
		{"a break", func(s int) bool { return s == 10 }, keep, 31, ""},
		{"healthy just in time", func(s int) bool { return s < 299 }, keep, 319, ""},
		{"never healthy", func(int) bool { return true }, giveUp, 301, "broken"},
		{"never steady", func(s int) bool { return s%15 == 0 }, giveUp, 315, "broken"},
		{"steady at the very end, with a break", func(s int) bool { return s < 290 || s == 305 }, giveUp, 305, "broken"},
	} {
		tr := trial{end: begun.Add(trialLimit)}
		got, at := wait, 0
		for ; got == wait && at < 1000; at++ {
			var complaints []string
			if tt.wrong(at) {
				complaints = []string{"broken"}
			}
			got = tr.look(begun.Add(time.Duration(at)*time.Second), complaints)
		}
		if at--; got != tt.want || at != tt.at {
			t.Errorf("%s: verdict %d after %d s, want %d after %d s", tt.name, got, at, tt.want, tt.at)
		}
		if reason := strings.Join(tr.complaints, "; "); got == giveUp && !strings.Contains(reason, tt.reason) {
			t.Errorf("%s: reason %q", tt.name, reason)
		}
	}
}
