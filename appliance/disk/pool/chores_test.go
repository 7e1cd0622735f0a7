package pool

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
)

// TestSchedule lets the clock go on and looks which snapshots there are.
func TestSchedule(t *testing.T) {
	w, m := stocked(t)
	now := monday
	m.o.Now = func() time.Time { return now }
	hourly := slices.Clone(tank)
	hourly[0].Volumes = []VolumeSpec{{Name: "golden", Size: 64 << 20, Schedule: Schedule{Every: time.Hour, Keep: 3}}}
	if err := m.Bring(t.Context(), hourly); err != nil {
		t.Fatal(err)
	}
	made := func() []string {
		var all []string
		for _, v := range snapshotsOf(*w.groups[0], "golden") {
			if slices.Contains(v.Tags, scheduleTag) {
				all = append(all, strings.TrimPrefix(v.Name, "golden+2026-"))
			}
		}
		return all
	}
	steps := []struct {
		pass time.Duration
		want []string
		next time.Duration
	}{
		{0, []string{"11-30T17-05"}, time.Minute},
		{30 * time.Minute, []string{"11-30T17-05"}, time.Minute},
		{29*time.Minute + 50*time.Second, []string{"11-30T17-05"}, 10 * time.Second},
		{10 * time.Second, []string{"11-30T17-05", "11-30T18-05"}, time.Minute},
		{48 * time.Hour, []string{"11-30T17-05", "11-30T18-05", "12-02T18-05"}, time.Minute}, // without power
		{time.Hour, []string{"11-30T18-05", "12-02T18-05", "12-02T19-05"}, time.Minute},
		{-2 * time.Hour, []string{"11-30T18-05", "12-02T17-05", "12-02T19-05"}, time.Minute}, // the clock was wrong: one of a time to come doesn't put it off
		{2 * time.Hour, []string{"11-30T18-05", "12-02T17-05", "12-02T19-05"}, time.Minute},
	}
	for i, s := range steps {
		now = now.Add(s.pass)
		next := m.chores(t.Context())
		if diff := cmp.Diff(s.want, made()); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		if d := next.Sub(now); d != s.next {
			t.Errorf("step %d: again in %v, want %v", i, d, s.next)
		}
	}
	// One that a target serves stays until that is over.
	hourly[0].Volumes[0].Served = []string{"golden@2026-11-30T18-05"}
	for _, want := range [][]string{
		{"11-30T18-05", "12-02T17-05", "12-02T19-05", "12-02T20-05"},
		{"12-02T19-05", "12-02T20-05", "12-02T21-05"},
	} {
		if err := m.Bring(t.Context(), hourly); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
		m.chores(t.Context())
		if diff := cmp.Diff(want, made()); diff != "" {
			t.Errorf("served %v (-want +got):\n%s", hourly[0].Volumes[0].Served, diff)
		}
		hourly[0].Volumes[0].Served = nil
	}
	content := w.content(m)
	if content["golden@monday"] == "" || content["clone"] == "" || content["golden"] == "" {
		t.Errorf("more than the schedule's own was removed: %v", content)
	}
	for k := range content {
		if strings.HasPrefix(k, "trash:") {
			t.Errorf("%s is left", k)
		}
	}
	w.unplug("b")
	now = now.Add(time.Hour)
	m.chores(t.Context())
	_, _, problems := m.Status(t.Context())
	if !strings.Contains(fmt.Sprint(problems), "cannot make the scheduled snapshot of golden: disk B is missing") {
		t.Errorf("problems %+v", problems)
	}
}

// TestScheduleWhileTheClockGoesOn: making a snapshot takes time, after which it
// is still the newest one.
func TestScheduleWhileTheClockGoesOn(t *testing.T) {
	w, m := stocked(t)
	now := monday
	m.o.Now = func() time.Time { now = now.Add(3 * time.Second); return now }
	often := slices.Clone(tank)
	often[0].Volumes = []VolumeSpec{{Name: "golden", Size: 64 << 20, Schedule: Schedule{Every: 10 * time.Second, Keep: 2}}}
	if err := m.Bring(t.Context(), often); err != nil {
		t.Fatal(err)
	}
	var made []string // in the order of their making
	for range 8 {
		m.chores(t.Context())
		now = now.Add(10 * time.Second)
		var there []string
		for _, v := range scheduled(snapshotsOf(*w.groups[0], "golden"), now) {
			there = append(there, v.UUID)
			if !slices.Contains(made, v.UUID) {
				made = append(made, v.UUID)
			}
		}
		if diff := cmp.Diff(made[max(0, len(made)-2):], there); diff != "" {
			t.Errorf("not the newest two are kept (-want +got):\n%s", diff)
		}
	}
	if len(made) != 8 {
		t.Errorf("%d snapshots were made", len(made))
	}
}

// TestTrashExpires: what was deleted goes after its time, unless the clock
// can't be believed.
func TestTrashExpires(t *testing.T) {
	w, m := stocked(t)
	now := monday
	m.o.Now = func() time.Time { return now }
	if err := m.Delete(t.Context(), "clone", false); err != nil {
		t.Fatal(err)
	}
	there := func() bool { _, ok := w.content(m)["trash:clone"]; return ok }
	for _, step := range []struct {
		at    time.Time
		there bool
	}{
		{monday, true},
		{time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), true},
		{monday.Add(DefaultTrash - time.Second), true},
		{monday.Add(DefaultTrash), false},
	} {
		now = step.at
		m.chores(t.Context())
		if there() != step.there {
			t.Errorf("at %v: there is %v, want %v", step.at, there(), step.there)
		}
	}
	old := lvm.LogicalVolume{Tags: []string{timeTag(lvm.TrashTag, time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))}}
	if expired(old, time.Hour, monday) {
		t.Error("what was deleted when the clock was wrong has expired")
	}
	if content := w.content(m); len(content) != 2 {
		t.Errorf("left is %v", content)
	}
}

// The clock is far ahead after a start, and is put right a little later.
func TestClockFarAhead(t *testing.T) {
	w, m := stocked(t)
	now := monday
	m.o.Now = func() time.Time { return now }
	if err := m.Delete(t.Context(), "clone", false); err != nil {
		t.Fatal(err)
	}
	for _, ahead := range []time.Duration{100 * 365 * 24 * time.Hour, 100*365*24*time.Hour + trashSettle/2, 0} {
		now = monday.Add(ahead)
		m.chores(t.Context())
		if _, ok := w.content(m)["trash:clone"]; !ok {
			t.Fatalf("it is gone at %v", now)
		}
	}
}

// What the schedule made and a person took out of the trash stays, however many the
// schedule keeps.
func TestRestoredStays(t *testing.T) {
	w, m := stocked(t)
	now := monday
	m.o.Now = func() time.Time { return now }
	hourly := slices.Clone(tank)
	hourly[0].Volumes = []VolumeSpec{{Name: "golden", Size: 64 << 20, Schedule: Schedule{Every: time.Hour, Keep: 2}}}
	if err := m.Bring(t.Context(), hourly); err != nil {
		t.Fatal(err)
	}
	const first = "golden@2026-11-30T17-05"
	for i := range 3 {
		m.chores(t.Context())
		if i == 1 {
			if err := m.Delete(t.Context(), first, false); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(time.Hour)
	}
	if _, err := m.Restore(t.Context(), first, ""); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		now = now.Add(time.Hour)
		m.chores(t.Context())
	}
	if w.content(m)[first] == "" {
		t.Errorf("%s is gone: %v", first, w.content(m))
	}
}
