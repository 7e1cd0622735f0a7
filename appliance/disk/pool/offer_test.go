package pool

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/status"
)

// TestOffer moves a pool's disks to an appliance that doesn't know them.
func TestOffer(t *testing.T) {
	w := newWorld(t, "ab")
	m, _ := w.manager(nil)
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	if got := m.Offers(); len(got) > 0 {
		t.Errorf("a pool in use is on offer: %+v", got)
	}
	w.restart()
	w.plug("c")
	w.plug("d")
	m, _ = w.manager(nil)
	other := []Spec{{Name: "tank", Layout: Mirror, Disks: []string{"C", "D"}}}
	for name, specs := range map[string][]Spec{"no pool": nil, "another of that name": other} {
		_ = m.Bring(t.Context(), specs) // the other one can't be made
		o, err := m.Offered(t.Context(), "tank")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := status.Offer{Name: "tank", UUID: o.UUID, Layout: Mirror, Disks: []string{"A", "B"}, Volumes: []status.Volume{{Name: "golden", UUID: o.Volumes[0].UUID, Size: 64 << 20}}}
		if diff := cmp.Diff(want, o); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	for _, c := range w.commands() {
		if !strings.Contains(c, "report") {
			t.Errorf("a pool that nobody wants is touched: %s", c)
		}
	}
	if _, err := m.Offered(t.Context(), "lake"); err == nil {
		t.Error("what isn't there is on offer")
	}
}
