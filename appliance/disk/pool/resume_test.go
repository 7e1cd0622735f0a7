package pool

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
)

// LVM was killed while volumes were suspended: the next start wakes them, and leaves
// alone what isn't ours.
func TestResume(t *testing.T) {
	for _, tt := range []struct {
		name      string
		suspended []string
		unplug    string
		want      []string
	}{
		{"nothing", nil, "", nil},
		{"of others", []string{"tank--2-vm1", "luks-x"}, "", nil},
		{"a volume", []string{"tank-golden"}, "", []string{"/sbin/lvm vgchange --refresh tank"}},
		{"a volume, and a disk is missing", []string{"tank-golden"}, "b", []string{
			"/sbin/lvm vgchange --refresh tank", "/sbin/dmsetup clear tank-golden", "/sbin/dmsetup resume tank-golden"}},
	} {
		w := newWorld(t, "ab")
		m, _ := w.manager(nil)
		if err := m.Bring(t.Context(), tank); err != nil {
			t.Fatal(err)
		}
		w.sync()
		if tt.unplug != "" {
			w.unplug(tt.unplug)
		}
		w.mu.Lock()
		w.suspended = map[string]bool{}
		for _, name := range tt.suspended {
			w.suspended[name] = true
			w.active[name] = true
		}
		w.mu.Unlock()
		w.commands()
		m, _ = w.manager(nil)
		if err := m.Bring(t.Context(), tank); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range w.commands() {
			if tt.unplug == "" || slices.Contains(tt.want, c) {
				got = append(got, c)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	g := lvm.Group{Name: "a-b"}
	if got := devicesOf(g, []string{"a--b-c", "a-b", "a--b--c-d", "a--bc-d"}); !slices.Equal(got, []string{"a--b-c"}) {
		t.Errorf("devices %v", got)
	}
}
