//go:build e2e

package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
)

const redundantTOML = `
hostname = "attic"

[[pool]]
name        = "tank"
disks       = ["R-1", "R-2"]
layout      = "mirror"
spare_after = "20m"

[[volume]]
name = "vm1"
pool = "tank"
size = "96MiB"

[[target]]
name       = "vm1"
iqn        = "` + iqn + `"
volumes    = ["vm1"]
initiators = ["*"]
`

// TestDisksComeAndGo loses disks of a mirror in every way, under I/O, and gets
// them back or gets others. After each row all that was acknowledged and flushed
// is there, the LUN is the same, and the status said the truth.
func TestDisksComeAndGo(t *testing.T) {
	t.Parallel()
	all := t
	s := &site{dir: t.TempDir()}
	s.stick = filepath.Join(s.dir, "stick.img")
	s.configure(t, redundantTOML)
	b := &bench{site: s}
	b.machine = s.boot(t, b.drive(t, "R-1"), b.drive(t, "R-2"))
	b.awaitLUN(t, iqn)
	b.identity = b.machine.identity(t)
	b.write(t, blocks)
	b.reaches(t, "healthy")

	for _, row := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"pulled under I/O and plugged again", func(t *testing.T) {
			b.during(t, func() { b.unplug(t, "R-2") })
			b.reaches(t, "degraded-absent", "R-2 is missing (at ")
			b.write(t, 8)
			before := b.total
			b.during(t, func() { b.plug(t, "R-2") })
			p := b.reaches(t, "healthy")
			c, err := b.Count(t.Context(), "R-2")
			if err != nil {
				t.Fatal(err)
			}
			copied, leg := c.Written-(b.total-before), p.Size-p.Room
			t.Logf("%d MiB copied to the disk, which has %d MiB of the pool", copied>>20, leg>>20)
			if copied > leg/2 {
				t.Errorf("%d MiB were copied to the disk, which has %d MiB of the pool, where at most %d were written", copied>>20, leg>>20, blocks)
			}
			b.without(t, "R-1")
		}},
		{"pulled and plugged while nobody writes", func(t *testing.T) {
			b.unplug(t, "R-1")
			b.plug(t, "R-1")
			b.reaches(t, "healthy")
			b.unplug(t, "R-2")
			b.write(t, 4)
			b.check(t)
			b.plug(t, "R-2")
			b.reaches(t, "healthy")
			b.without(t, "R-1")
		}},
		{"EIO on reads", func(t *testing.T) { b.breaks(t, "R-2", qemu.Fault{Reads: true}) }},
		{"EIO on writes", func(t *testing.T) { b.breaks(t, "R-2", qemu.Fault{Writes: true}) }},
		{"EIO on flushes", func(t *testing.T) { b.breaks(t, "R-1", qemu.Fault{Flushes: true}) }},
		{"a disk that is slow, and then hangs", func(t *testing.T) {
			b.fault(t, "R-2", qemu.Fault{IOPS: 1})
			stop := b.writing(t)
			for range 3 {
				b.statusInTime(t)
			}
			b.problem(t, "R-2", "s for a request, and whatever uses it is as slow")
			b.fault(t, "R-2", qemu.Fault{Hangs: true})
			b.problem(t, "R-2", "hasn't answered for")
			b.reaches(t, "degraded-absent", "R-2 doesn't answer")
			b.fault(t, "R-2", qemu.Fault{})
			stop()
			b.reaches(t, "healthy")
			b.without(t, "R-1")
		}},
		{"power lost while an initiator writes", func(t *testing.T) {
			b.writeUntilTheCut(t, 2*time.Second)
			b.machine = s.boot(all, b.drive(t, "R-1"), b.drive(t, "R-2"))
			b.awaitLUN(t, iqn)
			b.check(t)
			b.reaches(t, "healthy")
			// What was under way may be there or not, but on both disks alike.
			if one, two := b.without(t, "R-1"), b.without(t, "R-2"); one != two {
				t.Error("the disks have different content")
			}
		}},
		{"a blank disk in its place, and power lost while it is filled", func(t *testing.T) {
			b.unplug(t, "R-2")
			b.write(t, 8)
			b.reaches(t, "degraded-absent", "R-2")
			b.plug(t, "R-3")
			b.fault(t, "R-3", qemu.Fault{Bytes: 4 << 20})
			b.reaches(t, "rebuilding", "R-3")
			b.write(t, 8)
			b.Kill()
			b.machine = s.boot(all, b.drive(t, "R-1"), b.drive(t, "R-3")) // the rows after this one need it, too
			b.awaitLUN(t, iqn)
			b.check(t)
			b.reaches(t, "healthy")
		}},
		{"the old disk is back", func(t *testing.T) {
			b.plug(t, "R-2")
			b.write(t, 8)
			time.Sleep(3 * time.Second)
			b.reaches(t, "healthy")
			st := b.status(t)
			i := slices.IndexFunc(st.Disks, func(d status.Disk) bool { return d.Serial == "R-2" })
			if i < 0 || strings.HasPrefix(st.Disks[i].Use, "pool") || st.Disks[i].Use == "blank" {
				t.Errorf("disks %+v", st.Disks)
			}
			b.unplug(t, "R-2")
		}},
		{"what was rebuilt is right", func(t *testing.T) {
			b.unplug(t, "R-1")
			b.write(t, 4)
			b.reaches(t, "degraded-absent", "R-1")
			b.check(t)
			b.plug(t, "R-1")
			b.reaches(t, "healthy")
			b.without(t, "R-3")
		}},
		{"LVM goes on without a disk, which comes back", func(t *testing.T) {
			b.unplug(t, "R-3")
			b.write(t, 8)
			b.reaches(t, "degraded-absent", "R-3")
			b.shell(t, "lvm vgchange --addtag sanstick.e2e tank") // which marks it as missing
			b.write(t, 8)
			b.during(t, func() { b.plug(t, "R-3") })
			b.reaches(t, "healthy")
			if said := b.shell(t, "lvm vgs --noheadings -o vg_missing_pv_count tank"); !strings.Contains(said, " 0\n") {
				t.Errorf("LVM misses disks: %s", said)
			}
			b.without(t, "R-1")
		}},
		{"a blank disk in the place of one that fails, and is here", func(t *testing.T) {
			b.during(t, func() { b.fault(t, "R-3", qemu.Fault{Writes: true}) })
			b.reaches(t, "degraded-failed", "R-3")
			b.plug(t, "R-4") // which is taken when R-3 has been tried often enough
			b.write(t, 8)
			b.pool(t, func(p status.Pool) bool {
				return p.State == "healthy" && slices.Contains(p.Disks, "R-4") && !slices.Contains(p.Disks, "R-3")
			})
			b.fault(t, "R-3", qemu.Fault{})
			b.without(t, "R-1")
			b.unplug(t, "R-3")
		}},
		{"a disk is missing at the start, and a blank one comes", func(t *testing.T) {
			b.Kill()
			b.machine = s.boot(all, b.drive(t, "R-1"))
			b.awaitLUN(t, iqn)
			b.check(t)
			b.reaches(t, "degraded-absent", "R-4")
			b.during(t, func() { b.plug(t, "R-5") })
			b.pool(t, func(p status.Pool) bool { return p.State == "healthy" && slices.Contains(p.Disks, "R-5") })
			b.without(t, "R-1")
		}},
	} {
		ok := t.Run(row.name, func(t *testing.T) {
			start := time.Now()
			row.do(t)
			b.check(t)
			if again := b.machine.identity(t); again != b.identity {
				t.Errorf("the LUN changed its identity from\n%+v\nto\n%+v", b.identity, again)
			}
			t.Logf("%.0f s; the slowest status so far took %v", time.Since(start).Seconds(), b.slowest)
		})
		if !ok {
			return
		}
	}
}
