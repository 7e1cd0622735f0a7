package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/status"
)

func TestBootPhases(t *testing.T) {
	got := bootPhases([]status.BootPhase{{Name: "kernel", Took: 3.456}, {Name: "drivers", Begin: 3.5, Took: 2}})
	want := `PHASE     BEGAN              TOOK
firmware  before the kernel  unknown
kernel    0.00 s             3.46 s
drivers   3.50 s             2.00 s
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}
