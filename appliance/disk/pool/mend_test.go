package pool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

const refreshed = "lvchange --refresh tank/thinpool"

func TestDiskIsBack(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.unplug("b")
	b.write()
	b.look()
	b.wants(Absent, "disk B is missing", "in 9m5", "goes on without it")
	b.ran()
	if diff := cmp.Diff([]string{"pv-a"}, b.notes.newest["uuid-0"]); diff != "" {
		t.Errorf("the witness knows (-want +got):\n%s", diff)
	}
	b.plug("b")
	b.look()
	b.wants(Rebuilding, "disk B")
	b.ran(refreshed)
	b.write()
	b.world.sync()
	b.look()
	b.wants(Healthy)
	b.whole("/dev/vda", "/dev/vdb")
	if n := b.notes.newest["uuid-0"]; len(n) != 0 {
		t.Errorf("the witness knows %v", n)
	}
	b.ran()
}

// While a disk is filled, the one that it is filled from goes: what is left isn't
// whole, and nothing is done with it until the other is back.
func TestSourceIsLost(t *testing.T) {
	b := newBench(t, "abc", nil)
	b.unplug("b")
	b.write()
	b.look()
	b.plug("b")
	b.look()
	b.wants(Rebuilding, "disk B")
	b.ran(refreshed)
	b.unplug("a")
	b.look()
	b.clock.t = b.clock.t.Add(11 * time.Minute)
	b.look()
	b.wants(Failed, "disk A is missing, and nothing has what was on it")
	b.ran()
	b.plug("a")
	b.look()
	b.world.sync()
	b.write()
	b.look()
	b.wants(Healthy)
	b.whole("/dev/vda", "/dev/vdb")
}

// The kernel doesn't notice that a disk has gone that nobody uses, and works on
// with a device that isn't there any more.
func TestDiskIsBackUnnoticed(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.unplug("b")
	b.plug("b")
	b.look()
	b.ran(refreshed)
	b.world.sync()
	b.write()
	b.wants(Healthy)
	b.whole("/dev/vda", "/dev/vdb")
}

// LVM marks a missing disk when it writes its metadata.
func TestDiskIsBackMarked(t *testing.T) {
	for _, reboot := range []bool{false, true} {
		b := newBench(t, "ab", nil)
		b.unplug("b")
		b.write()
		b.look()
		if err := b.Manager.lvm.ChangeTags(t.Context(), "tank", []string{"sanstick.x"}, nil); err != nil {
			t.Fatal(err)
		}
		b.commands()
		b.plug("b")
		if reboot {
			b.restart()
			b.start()
			b.ran("vgextend --restoremissing tank /dev/vdb", "vgchange -ay --activationmode degraded tank")
		} else {
			b.look()
			b.ran("vgextend --restoremissing tank /dev/vdb", refreshed)
		}
		b.write()
		b.world.sync()
		b.look()
		b.wants(Healthy)
		b.whole("/dev/vda", "/dev/vdb")
	}
}

func TestFailedLeg(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.broken["/dev/vdb"] = true
	b.write()
	b.look()
	b.wants(Rebuilding, "B") // it is tried again
	b.ran(refreshed)
	b.world.sync()
	b.look()
	b.wants(LegFailed, "disk B has failed", "nothing takes its place: no blank disk is free for it")
	for range 5 {
		b.clock.t = b.clock.t.Add(tryDistance)
		b.look()
		b.world.sync()
	}
	b.ran(refreshed, refreshed)
	b.wants(LegFailed, "disk B has failed")
	if diff := cmp.Diff([]string{"pv-a"}, b.notes.newest["uuid-0"]); diff != "" {
		t.Errorf("the witness knows (-want +got):\n%s", diff)
	}
	// Another day it gets another try.
	b.broken["/dev/vdb"] = false
	b.clock.t = b.clock.t.Add(triesForget + time.Hour)
	b.look()
	b.world.sync()
	b.look()
	b.wants(Healthy)
}

// A spare takes the place of a disk that is missing, or of one that failed and is
// here.
func TestSpare(t *testing.T) {
	for _, gone := range []bool{true, false} {
		b := newBench(t, "abcd", func(s *Spec) { s.Spares = []string{"D"} })
		b.hold("c")
		if gone {
			b.unplug("b")
		}
		b.broken["/dev/vdb"] = !gone
		b.write()
		for range 4 {
			b.clock.t = b.clock.t.Add(tryDistance)
			b.look()
			b.world.sync()
		}
		if gone {
			b.ran()
			b.wants(Absent, "spare D takes its place")
		} else {
			b.ran(refreshed, refreshed, refreshed)
		}
		b.clock.t = b.clock.t.Add(11 * time.Minute)
		b.look()
		b.wants(Rebuilding, "disk D")
		move := []string{"pvcreate --bootloaderareasize 2m /dev/vdd", "vgextend tank /dev/vdd", "vgchange --addtag sanstick.disk.pv-new-4.D tank"}
		if gone {
			move = append(move, "lvconvert --yes --repair tank/thinpool_tmeta /dev/vdd", "lvconvert --yes --repair tank/thinpool_tdata /dev/vdd")
		} else {
			move = append(move, "lvconvert --yes --replace /dev/vdb tank/thinpool_tmeta /dev/vdd", "lvconvert --yes --replace /dev/vdb tank/thinpool_tdata /dev/vdd")
		}
		got := b.commands()
		for i := range got {
			got[i] = strings.TrimPrefix(got[i], "/sbin/lvm ")
		}
		if diff := cmp.Diff(move, got[:min(len(got), len(move))]); diff != "" {
			t.Errorf("gone %v: commands (-want +got):\n%s", gone, diff)
		}
		b.world.sync()
		b.write()
		b.look()
		b.wants(Healthy)
		b.whole("/dev/vda", "/dev/vdd")
		if n := len(b.groups[0].Physical); n != 2 {
			t.Errorf("%d disks in the pool", n)
		}
	}
}

// Without a spare the pool goes on after a while, and takes a blank disk later.
func TestCut(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.unplug("b")
	b.write()
	b.look()
	b.clock.t = b.clock.t.Add(11 * time.Minute)
	b.look()
	b.wants(Cut, "lacks a disk")
	b.ran("vgreduce --removemissing --force --mirrorsonly tank",
		"vgchange --addtag sanstick.gone.pv-b.B --deltag sanstick.disk.pv-b.B tank")
	grown := slices.Clone(b.specs)
	grown[0].Volumes = append(slices.Clone(grown[0].Volumes), VolumeSpec{Name: "second", Size: 4 << 20})
	b.specs = grown
	if err := b.Bring(t.Context(), grown); err != nil {
		t.Fatal(err)
	}
	b.ran("lvcreate --type thin -V 4194304b --thinpool thinpool -n second tank")
	b.write()
	b.plug("b") // the old disk, which is out of date and has LVM's label
	b.look()
	b.ran()
	b.wants(Cut)
	_, _, problems := b.Status(t.Context())
	if !slices.ContainsFunc(problems, func(p status.Problem) bool { return strings.Contains(p.What, "disk B was a part of pool tank") }) {
		t.Errorf("%+v", problems)
	}
	b.plug("c")
	b.look()
	b.wants(Rebuilding, "disk C")
	b.world.sync()
	b.write()
	b.look()
	b.wants(Healthy)
	b.whole("/dev/vda", "/dev/vdc")
	if diff := cmp.Diff([]string{"pv-a", b.groups[0].Physical[1].UUID}, b.notes.newest["uuid-0"]); diff != "" {
		t.Errorf("the witness knows (-want +got):\n%s", diff)
	}
}

// A blank disk that comes after the loss is taken at once.
func TestBlankReplacement(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.unplug("b")
	b.write()
	b.look()
	b.plug("c")
	b.look()
	b.wants(Rebuilding, "disk C")
	b.world.sync()
	b.write()
	b.look()
	b.wants(Healthy)
	b.whole("/dev/vda", "/dev/vdc")
	if _, _, problems := b.Status(t.Context()); len(problems) > 0 {
		t.Errorf("though the configuration names the old disk: %+v", problems)
	}
	// The old disk is back: it is a problem, but the pool has none.
	b.plug("b")
	b.look()
	if _, p := b.state(); p.Health != status.OK {
		t.Errorf("an old disk makes the pool %s: %s", p.Health, p.Detail)
	}
	if _, _, problems := b.Status(t.Context()); !says(problems, "disk B was a part of pool tank") {
		t.Errorf("problems %+v", problems)
	}
	b.unplug("b")
	b.look()
	// And the other one, so that the configuration names none of them.
	b.unplug("a")
	b.write()
	b.look()
	b.plug("d")
	b.look()
	b.world.sync()
	b.look()
	b.restart()
	b.start()
	b.look()
	b.write()
	b.wants(Healthy)
	b.whole("/dev/vdc", "/dev/vdd")
}

func TestNotTaken(t *testing.T) {
	for name, prepare := range map[string]func(b *bench){
		"not blank": func(b *bench) { b.plug("c"); b.unplug("c"); b.hold("c"); b.plug("c") },
		"too small": func(b *bench) { b.size["/dev/vdc"] = 64 << 20; b.plug("c") },
		"wanted by another pool": func(b *bench) {
			other := *b.groups[0]
			other.Name, other.UUID, other.Physical = "tub", "uuid-tub", []lvm.PhysicalVolume{{Path: "/dev/vdx", UUID: "pv-x", Extents: 63}}
			b.groups = append(b.groups, &other)
			for _, v := range []string{"thinpool_tdata", "thinpool_tmeta"} {
				b.legs["tub/"+v] = []*worldLeg{{pv: "pv-x", letter: 'A'}, {letter: 'D'}}
			}
			b.plug("x")
			b.plug("c")
		},
	} {
		b := newBench(t, "ab", nil)
		b.unplug("b")
		b.write()
		b.look()
		prepare(b)
		before := len(b.disks["/dev/vdc"].blocks)
		b.look()
		if c := b.commands(); len(c) > 0 || len(b.disks["/dev/vdc"].blocks) != before {
			t.Errorf("%s: %v", name, c)
		}
	}
}

// Power fails at every single change while a lost disk is replaced. What follows
// finishes it, and touches nothing else.
func TestPowerCutWhileMending(t *testing.T) {
	for _, how := range []string{"blank disk", "spare", "cut"} {
		for at := range 40 {
			b := newBench(t, "abx", func(s *Spec) {
				if how == "spare" {
					s.Spares = []string{"C"}
				}
			})
			b.hold("x")
			x := len(b.disks["/dev/vdx"].blocks)
			b.unplug("b")
			b.write()
			b.look()
			if how != "cut" {
				b.plug("c")
			}
			b.left = at
			b.clock.t = b.clock.t.Add(11 * time.Minute)
			b.look()
			enough := b.left > 0
			b.restart()
			name := fmt.Sprintf("%s, power cut at change %d", how, at)
			if how == "cut" {
				b.plug("c")
			}
			b.start()
			b.look()
			b.write()
			b.clock.t = b.clock.t.Add(11 * time.Minute)
			b.look()
			b.world.sync()
			b.write()
			b.look()
			if s, p := b.state(); s != string(Healthy) {
				_, _, pr := b.Status(t.Context())
				t.Log(pr, b.commands(), b.facts.Found)
				t.Errorf("%s: state %s: %s", name, s, p.Detail)
			}
			b.whole("/dev/vda", "/dev/vdc")
			if len(b.groups) != 1 || len(b.groups[0].Physical) != 2 {
				t.Errorf("%s: groups %+v", name, b.groups)
			}
			if _, err := readStamp(b.disks["/dev/vdc"]); !errors.Is(err, errNoStamp) {
				t.Errorf("%s: a stamp is left", name)
			}
			if n := len(b.disks["/dev/vdx"].blocks); n != x {
				t.Errorf("%s: another disk was written", name)
			}
			if t.Failed() {
				t.Fatal(name)
			}
			if enough {
				break
			}
		}
	}
}

// While volumes are moved to another disk one after another, the status tells that
// a disk is being filled, not only that one is missing.
func TestFillingIsTold(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.unplug("b")
	b.write()
	b.look()
	b.plug("c")
	var told []string
	run := b.Manager.lvm.Runner
	b.Manager.lvm.Runner = &systest.Runner{Handle: func(c sys.Command) (sys.Output, error) {
		if slices.Contains(c.Args, "--removemissing") {
			s, p := b.state()
			told = append(told, s, p.Detail)
		}
		return run.Run(t.Context(), c)
	}}
	b.look()
	if len(told) != 2 || told[0] != string(Rebuilding) || !strings.Contains(told[1], "disk C") {
		t.Errorf("told %q", told)
	}
}

// LVM may end well and forget nothing: that isn't tried for ever, and doesn't keep
// the pool from anything.
func TestMissingIsNotForgotten(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.unplug("b")
	b.write()
	b.look()
	b.clings = true
	b.plug("c")
	b.look()
	count := func() (n int) {
		for _, c := range b.commands() {
			if strings.Contains(c, "vgreduce --removemissing tank") {
				n++
			}
		}
		return n
	}
	if n := count(); n != 1 {
		t.Errorf("told %d times", n)
	}
	b.look()
	b.look()
	if n := count(); n > 1 {
		t.Errorf("told again, %d times", n)
	}
	b.plug("d")
	b.unplug("c")
	b.look()
	if s, p := b.state(); s == string(Failed) {
		t.Errorf("state %s: %s", s, p.Detail)
	}
}
