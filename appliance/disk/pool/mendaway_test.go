package pool

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/sys"
)

// TestDiskIsNotTakenBack: LVM doesn't take back a disk that is here again. The pool is
// used without it, as if it were missing, and another disk may take its place.
func TestDiskIsNotTakenBack(t *testing.T) {
	const restore = "vgextend --restoremissing tank /dev/vdb"
	for _, reboot := range []bool{false, true} {
		for _, then := range []string{"works", "replaced", "given up"} {
			b := newBench(t, "ab", nil)
			refuse := true
			b.through = func(c sys.Command) (sys.Output, error) {
				if refuse && slices.Contains(c.Args, "--restoremissing") {
					b.world.mu.Lock()
					defer b.world.mu.Unlock()
					b.world.log = append(b.world.log, c.String())
					return sys.Output{}, &sys.ExitError{Command: c.String(), Code: 5, Stderr: "write error"}
				}
				return b.handle(c)
			}
			b.start()
			b.commands()
			b.unplug("b")
			b.write()
			b.look()
			if err := b.Manager.lvm.ChangeTags(t.Context(), "tank", []string{"sanstick.x"}, nil); err != nil {
				t.Fatal(err)
			}
			b.commands()
			b.plug("b")
			want := []string{restore}
			if reboot {
				b.restart()
				b.start()
				want = append(want, "vgchange -ay --activationmode partial tank")
			} else {
				b.look()
			}
			b.ran(want...)
			b.write()
			b.look()
			b.wants(Absent, "disk B is missing")
			_, _, problems := b.Status(t.Context())
			if !says(problems, "disk B is here again, but LVM couldn't take it back") || says(problems, "can't be used") {
				t.Errorf("problems %+v", problems)
			}
			if _, _, _, err := b.Volume("tank", "golden"); err != nil {
				t.Error(err)
			}
			b.ran()
			disk := "/dev/vdb"
			b.clock.t = b.clock.t.Add(2 * time.Minute)
			switch then {
			case "works":
				refuse = false
				b.look()
				b.ran()
				b.clock.t = b.clock.t.Add(restoreAgain - 3*time.Minute)
				b.look()
				b.ran()
				b.clock.t = b.clock.t.Add(2 * time.Minute)
				b.look()
				b.ran(restore, refreshed)
			case "replaced":
				b.plug("c")
				b.look()
				b.wants(Rebuilding, "disk C")
				disk = "/dev/vdc"
			case "given up":
				b.clock.t = b.clock.t.Add(12 * time.Minute)
				b.look()
				b.clock.t = b.clock.t.Add(2 * time.Minute) // it was tried again before
				b.look()
				b.wants(Cut)
				b.ran(restore, "vgreduce --removemissing --force --mirrorsonly tank",
					"vgchange --addtag sanstick.gone.pv-b.B --deltag sanstick.disk.pv-b.B tank")
				continue
			}
			b.write()
			b.world.sync()
			b.look()
			b.wants(Healthy)
			b.whole("/dev/vda", disk)
		}
	}
}

// idler is a bench whose pool has a disk C, too, that was added and isn't used yet.
func idler(t *testing.T, letters string) *bench {
	b := newBench(t, letters, func(s *Spec) { s.Spares = []string{"C"} })
	b.world.mu.Lock()
	g := b.groups[0]
	g.Physical = append(g.Physical, lvm.PhysicalVolume{Path: "/dev/vdc", UUID: "pv-c", Extents: 63, AreaStart: 1 << 20, AreaSize: 2 << 20})
	g.Tags = append(g.Tags, memberTag("pv-c", "C"))
	b.disks["/dev/vdc"].label()
	b.world.mu.Unlock()
	b.look()
	b.wants(Healthy)
	b.ran()
	return b
}

// TestIdleDiskIsAway: a disk that was added and isn't used yet is waited for as any
// other.
func TestIdleDiskIsAway(t *testing.T) {
	const drop = "vgreduce --removemissing tank"
	gone := "vgchange --addtag sanstick.gone.pv-c.C --deltag sanstick.disk.pv-c.C tank"
	b := idler(t, "abcd")
	b.unplug("c")
	b.look()
	b.wants(Absent, "disk C is missing")
	b.plug("c")
	b.look()
	b.wants(Healthy)
	b.ran()

	b.unplug("c")
	b.look()
	b.again(true)
	b.commands()
	b.clock.t = b.clock.t.Add(5 * time.Minute)
	b.look()
	b.wants(Absent, "disk C is missing")
	b.ran() // a blank disk is here, but nothing is to be rebuilt
	b.clock.t = b.clock.t.Add(6 * time.Minute)
	b.look()
	b.ran(drop, gone)
	b.wants(Healthy)

	// It is in the way when the legs of one that failed are to be moved.
	b = idler(t, "abc")
	b.broken["/dev/vdb"] = true
	b.write()
	for i := range maxTries + 1 {
		b.look()
		b.world.sync()
		b.clock.t = b.clock.t.Add(tryDistance)
		if i == 1 { // B has a try left yet
			b.unplug("c")
		}
	}
	b.ran(refreshed, refreshed, refreshed)
	b.wants(LegFailed, "disk B has failed")
	b.plug("d")
	b.look()
	b.world.sync()
	b.write()
	b.look()
	b.wants(Healthy)
	b.whole("/dev/vda", "/dev/vdd")
	var order []string
	for _, c := range b.commands() {
		for _, what := range []string{"--removemissing", "--replace"} {
			if strings.Contains(c, what) {
				order = append(order, what)
			}
		}
	}
	if diff := cmp.Diff([]string{"--removemissing", "--replace", "--replace"}, order); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}
