package md_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/md"
)

const uuid = "7d3c6f1a:0b2e4d5f:8a9b0c1d:2e3f4a5b"

// TestParseExamine reads what mdadm 4.2 says of superblocks.
func TestParseExamine(t *testing.T) {
	raid1 := md.Member{UUID: uuid, Name: "other:data", Level: "raid1", Devices: 2, Events: 17, Clean: true, Whole: true}
	with := func(change func(*md.Member)) md.Member {
		m := raid1
		change(&m)
		return m
	}
	tests := map[string]md.Member{
		"raid1-0":     raid1,
		"raid1-1-old": with(func(m *md.Member) { m.Role, m.Events = 1, 12 }),
		"raid5-dirty": {UUID: uuid, Name: "other:data", Level: "raid5", Devices: 3, Events: 40, Role: 2, Whole: true},
		"spare":       with(func(m *md.Member) { m.Role = -1 }),
		"reshape":     {UUID: uuid, Name: "other:data", Level: "raid5", Devices: 4, Events: 9, Clean: true, Whole: true, Reshape: true},
		"damaged":     with(func(m *md.Member) { m.Whole = false }),
		"v090":        with(func(m *md.Member) { m.Role, m.Name = 1, "" }),
	}
	for name, want := range tests {
		text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := md.ParseExamine(string(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	whole, err := os.ReadFile("testdata/raid1-0.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"Array UUID", "Other UUID"}, {uuid, "7d3c"}, {"Raid Level", "Level"}, {"Raid Devices : 2", "Raid Devices : -2"},
		{"Events : 17", "Events : many"}, {"Active device 0", "Active device x"},
	} {
		if m, err := md.ParseExamine(strings.Replace(string(whole), change[0], change[1], 1)); err == nil {
			t.Errorf("%q for %q gave %+v, want an error", change[1], change[0], m)
		}
	}
	if _, err := md.ParseExamine(""); err == nil {
		t.Error("nothing gave no error")
	}
}

func FuzzParseExamine(f *testing.F) {
	for _, name := range []string{"raid1-0", "raid5-dirty", "v090"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := md.ParseExamine(text)
		if err == nil && (m.Role < -1 || m.Role >= m.Devices || md.CheckUUID(m.UUID) != nil) {
			t.Errorf("%+v", m)
		}
	})
}

func TestChoose(t *testing.T) {
	member := func(level string, devices, role int, change ...func(*md.Member)) md.Member {
		m := md.Member{Device: "/dev/sd" + string(rune('a'+max(role, 0))), UUID: uuid, Level: level, Devices: devices, Role: role, Events: 17, Clean: true, Whole: true}
		for _, c := range change {
			c(&m)
		}
		return m
	}
	old := func(m *md.Member) { m.Events = 12 }
	dirty := func(m *md.Member) { m.Clean = false }
	tests := []struct {
		name     string
		here     []md.Member
		degraded bool
		roles    []int
		lacks    int
		err      string // empty: none
	}{
		{name: "whole", here: []md.Member{member("raid1", 2, 1), member("raid1", 2, 0)}, roles: []int{0, 1}},
		{name: "whole, not shut down cleanly", here: []md.Member{member("raid5", 3, 0, dirty), member("raid5", 3, 1, dirty), member("raid5", 3, 2, dirty)}, roles: []int{0, 1, 2}},
		{name: "with a spare", here: []md.Member{member("raid1", 2, 0), member("raid1", 2, -1), member("raid1", 2, 1)}, roles: []int{0, 1}},
		{name: "nothing", err: "none of its members is here"},
		{name: "a member missing", here: []md.Member{member("raid1", 2, 1)}, err: "1 of its 2 members are missing; connect them, or say --degraded"},
		{name: "a member missing, and that is said", here: []md.Member{member("raid1", 2, 1)}, degraded: true, roles: []int{1}, lacks: 1},
		{name: "a member out of date", here: []md.Member{member("raid1", 2, 0, old), member("raid1", 2, 1)}, err: "out of date (/dev/sda)"},
		{name: "a member out of date isn't used", here: []md.Member{member("raid1", 2, 0, old), member("raid1", 2, 1)}, degraded: true, roles: []int{1}, lacks: 1},
		{name: "a mirror, not shut down cleanly, without a member", here: []md.Member{member("raid1", 2, 1, dirty)}, degraded: true, roles: []int{1}, lacks: 1},
		{name: "parity, without a member", here: []md.Member{member("raid5", 3, 0), member("raid5", 3, 2)}, degraded: true, roles: []int{0, 2}, lacks: 1},
		{name: "parity, not shut down cleanly, without a member", here: []md.Member{member("raid5", 3, 0, dirty), member("raid5", 3, 2, dirty)}, degraded: true, err: "wasn't shut down cleanly"},
		{name: "stripes without a member", here: []md.Member{member("raid0", 2, 0)}, degraded: true, err: "nothing can be read"},
		{name: "spares only", here: []md.Member{member("raid1", 2, -1)}, degraded: true, err: "nothing can be read"},
		{name: "a copy", here: []md.Member{member("raid1", 2, 0), member("raid1", 2, 0, func(m *md.Member) { m.Device = "/dev/sdx" })}, degraded: true, err: "one is a copy"},
		{name: "damaged", here: []md.Member{member("raid1", 2, 0), member("raid1", 2, 1, func(m *md.Member) { m.Whole = false })}, degraded: true, err: "damaged"},
		{name: "being reshaped", here: []md.Member{member("raid5", 3, 0, func(m *md.Member) { m.Reshape = true })}, degraded: true, err: "reshaped"},
		{name: "another array's", here: []md.Member{member("raid1", 2, 0), member("raid1", 2, 1, func(m *md.Member) { m.UUID, m.Events = "a", 1 })}, err: "belongs to array a"},
		{name: "different ideas", here: []md.Member{member("raid1", 2, 0), member("raid1", 3, 1)}, err: "disagree"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			chosen, lacks, err := md.Choose(tt.here, tt.degraded)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q in it", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var roles []int
			for _, m := range chosen {
				roles = append(roles, m.Role)
			}
			if diff := cmp.Diff(tt.roles, roles); diff != "" || lacks != tt.lacks {
				t.Errorf("lacks %d, want %d; roles (-want +got):\n%s", lacks, tt.lacks, diff)
			}
		})
	}
}
