package scsi

import (
	"testing"

	"sanstick/target/block/memdev"
)

// Each nexus hears of it once, whatever it does next; and again when it is said
// again.
func TestSpaceLow(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{Thin: true})
	nexuses := []*Nexus{r.newNexus(t), r.newNexus(t)}
	for range 2 {
		if err := r.unit.SpaceLow(); err != nil {
			t.Fatal(err)
		}
		if err := r.unit.SpaceLow(); err != nil {
			t.Fatal(err)
		}
		for _, n := range nexuses {
			wantSense(t, run(n, 0, "2a 00 00000000 00 0001 00", make([]byte, 512)), unitAttention, thinSoftThreshold)
			if got := run(n, 0, "2a 00 00000000 00 0001 00", make([]byte, 512)); got.Status != Good {
				t.Errorf("after the unit attention: %v", got.Status)
			}
		}
	}
	if err := newRig(t, memdev.Options{}, UnitOptions{}).unit.SpaceLow(); err == nil {
		t.Error("a thick unit has warned of low space")
	}
}
