package box

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/config"
	"sanstick/appliance/disk/pool"
)

func TestLUNNumbers(t *testing.T) {
	kept := func(volume string, n int) pool.LUN {
		return pool.LUN{Pool: "tank", Volume: volume, Target: "t", Number: n}
	}
	var many []string
	for i := range 256 {
		many = append(many, fmt.Sprint("v", i))
	}
	tests := []struct {
		name    string
		volumes []string
		kept    []pool.LUN
		want    map[string]int
	}{
		{"first time", []string{"a", "b", "c"}, nil, map[string]int{"a": 0, "b": 1, "c": 2}},
		{"one removed", []string{"a", "c"}, []pool.LUN{kept("a", 0), kept("b", 1), kept("c", 2)}, map[string]int{"a": 0, "c": 2}},
		{"order changed", []string{"c", "b", "a"}, []pool.LUN{kept("a", 0), kept("b", 1), kept("c", 2)}, map[string]int{"a": 0, "b": 1, "c": 2}},
		{"new in front", []string{"new", "a"}, []pool.LUN{kept("a", 0)}, map[string]int{"new": 1, "a": 0}},
		{"removed one's number isn't given away", []string{"a", "new"}, []pool.LUN{kept("a", 0), kept("b", 1)}, map[string]int{"a": 0, "new": 2}},
		{"nor that of a deleted one", []string{"a", "new"}, []pool.LUN{kept("a", 0), kept("", 1)}, map[string]int{"a": 0, "new": 2}},
		{"of other targets and pools", []string{"a"}, []pool.LUN{{Pool: "tank", Volume: "a", Target: "u", Number: 7}, {Pool: "other", Volume: "a", Target: "t", Number: 8}}, map[string]int{"a": 0}},
		{"snapshot", []string{"a", "a@monday"}, []pool.LUN{kept("a@monday", 5)}, map[string]int{"a": 0, "a@monday": 5}},
		{"two claim one", []string{"a", "b"}, []pool.LUN{kept("a", 1), kept("b", 1)}, map[string]int{"a": 1, "b": 0}},
		{"number that can't be", []string{"a"}, []pool.LUN{kept("a", 300)}, map[string]int{"a": 0}},
	}
	for _, tt := range tests {
		got := lunNumbers(config.Target{Name: "t", Volumes: tt.volumes}, tt.kept, func(string) string { return "tank" })
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	full := lunNumbers(config.Target{Name: "t", Volumes: many}, []pool.LUN{kept("", 3)}, func(string) string { return "tank" })
	if len(full) != 255 {
		t.Errorf("%d numbers of 256 with one taken", len(full))
	}
}
