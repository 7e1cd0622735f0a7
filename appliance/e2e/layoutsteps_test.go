//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
)

// What happens to the pool of a layoutRow.

// grows adds the row's further disks to the configuration, under an initiator.
func (k *rack) grows(t *testing.T, rows []*layoutRow, r *layoutRow) {
	before := k.reaches(t, r, "healthy")
	r.disks = append(r.disks, r.more...)
	k.during(t, r, func() {
		k.plug(t, r.more...)
		k.applies(t, layoutsTOML(rows))
	})
	after := k.pool(t, r, "grown", func(p status.Pool) bool {
		return p.State == "healthy" && len(p.Disks) == len(r.disks) && (r.pool == "mirror" || p.Size > before.Size*5/4 && p.Size-p.Room > before.Size-before.Room)
	})
	t.Logf("size %d MiB, was %d; the thin pool has %d, had %d", after.Size>>20, before.Size>>20, (after.Size-after.Room)>>20, (before.Size-before.Room)>>20)
	// No disk has two legs of one volume.
	said := k.shell(t, fmt.Sprintf("lvm lvs -a --noheadings -o lv_name,devices %s", r.pool))
	on := map[string]string{} // volume and disk: leg
	for line := range strings.Lines(said) {
		f := strings.Fields(strings.ReplaceAll(line, ",", " "))
		if len(f) < 2 || !strings.Contains(f[0], "_rimage_") {
			continue
		}
		volume, _, _ := strings.Cut(f[0], "_rimage_")
		for _, d := range f[1:] {
			disk, _, _ := strings.Cut(d, "(")
			if other := on[volume+disk]; other != "" && other != f[0] {
				t.Errorf("%s and %s are both on %s", other, f[0], disk)
			}
			on[volume+disk] = f[0]
		}
	}
	data := 0 // disks
	for at := range on {
		if strings.Contains(at, "tdata") {
			data++
		}
	}
	if len(on) < len(r.disks) || r.promised > 0 && data < len(r.disks) {
		t.Errorf("LVM says\n%s", said)
	}
}

// failsToRead has a disk's reads fail: what is on it is made from what is on the others.
// When they don't fail any more it is used as before.
func (k *rack) failsToRead(t *testing.T, r *layoutRow) {
	bad, other := r.disks[0], r.away[0]
	fails := qemu.Fault{Reads: true}
	if err := k.Break(t.Context(), bad, fails); err != nil {
		t.Fatal(err)
	}
	k.check(t, r)
	k.shell(t, "sanctl pool scrub "+r.pool) // the kernel reads all disks then
	p := k.pool(t, r, "with a disk that fails", func(p status.Pool) bool {
		k.check(t, r)
		return strings.Contains(p.Detail, "disk "+bad) && !strings.Contains(p.Detail, bad+" is missing")
	})
	c, err := k.Count(t.Context(), bad)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d reads failed; the pool is %s: %s", c.FailedReads, p.State, p.Detail)
	if c.FailedReads == 0 || p.Health == status.OK {
		t.Errorf("%d reads failed; the pool is %+v", c.FailedReads, p)
	}
	k.write(t, r, 4)
	if err := k.Break(t.Context(), bad, qemu.Fault{}); err != nil {
		t.Fatal(err)
	}
	k.write(t, r, 2)
	k.reaches(t, r, "healthy")
	k.unplug(t, other) // so what is on the one that failed is needed
	k.reaches(t, r, "degraded-absent", other)
	k.check(t, r)
	k.plug(t, other)
	k.reaches(t, r, "healthy")
}

// loses has a row lose a disk under I/O and fill another one, and then be without
// others.
func (k *rack) loses(t *testing.T, r *layoutRow) {
	k.during(t, r, func() { k.unplug(t, r.disks[0]) })
	k.reaches(t, r, "degraded-absent", r.disks[0])
	k.write(t, r, 4)
	k.check(t, r)

	k.during(t, r, func() { k.plug(t, r.fresh...) })
	k.pool(t, r, "with disk "+r.fresh[0], func(p status.Pool) bool { return slices.Contains(p.Disks, r.fresh[0]) })
	k.slow(t, r.fresh[0], 10)
	if p := k.reaches(t, r, "rebuilding", r.fresh[0]); p.Progress >= 100 {
		t.Errorf("progress %v", p.Progress)
	}
	k.write(t, r, 4)
	k.slow(t, r.fresh[0], 0)
	p := k.reaches(t, r, "healthy")
	if !slices.Contains(p.Disks, r.fresh[0]) || slices.Contains(p.Disks, r.disks[0]) || len(p.Missing) > 0 {
		t.Errorf("disks %v, missing %v", p.Disks, p.Missing)
	}

	k.during(t, r, func() { k.unplug(t, r.away...) })
	k.reaches(t, r, "degraded-absent", r.away...)
	k.write(t, r, 2)
	k.check(t, r)
	k.plug(t, r.away...)
	k.reaches(t, r, "healthy")
}

// awaitThick waits until the row's thick volume is cleared and served.
func (k *rack) awaitThick(t *testing.T, r *layoutRow) {
	t.Helper()
	k.pool(t, r, "cleared", func(p status.Pool) bool {
		return slices.ContainsFunc(p.Volumes, func(v status.Volume) bool { return v.Name == r.fat() && v.Cleared == nil })
	})
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		for _, target := range k.status(t).Targets {
			if slices.ContainsFunc(target.LUNs, func(l status.LUN) bool { return l.Volume == r.fat() }) {
				return
			}
		}
	}
	t.Fatalf("%s isn't served", r.fat())
}

// clears deletes the thick volume for good and makes another one, in which nothing of
// the first one is left. Nor is it on the disks.
func (k *rack) clears(t *testing.T, rows []*layoutRow, r *layoutRow) {
	remains := func() (n int) { // blocks of 4 KiB
		want := bytes.Repeat([]byte{thickPattern}, 4096)
		for _, serial := range slices.Concat(r.disks, r.fresh) {
			b, err := os.ReadFile(filepath.Join(k.dir, serial+".img"))
			if err != nil {
				t.Fatal(err)
			}
			for block := range slices.Chunk(b, 4096) {
				if bytes.Equal(block, want) {
					n++
				}
			}
		}
		return n
	}
	// With a signature at its beginning, about which LVM would ask.
	old := bytes.Repeat([]byte{thickPattern}, 8<<20)
	copy(old[4086:], "SWAPSPACE2")
	file := filepath.Join(k.dir, "thick")
	if err := os.WriteFile(file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", file, k.lun(r.iqn(), 1))
	before := remains()
	r.thin = true
	k.applies(t, layoutsTOML(rows))
	k.sanctl(t, "is in the trash", "volume delete --yes "+r.fat())
	trash := regexp.MustCompile(`trash\+[^ \r\n]+`).FindString(k.sanctl(t, "trash+", "volume trash"))
	k.sanctl(t, "", "volume purge --yes "+trash)
	r.thin = false
	k.applies(t, layoutsTOML(rows))
	k.awaitThick(t, r)
	k.holds(t, "the new thick volume", r.iqn(), 1, 0, "8M")
	after := remains()
	t.Logf("%d blocks of the old volume were on the disks, and %d are", before, after)
	if before < 2048 || after > before/2 { // a disk that was lost still has its part
		t.Errorf("%d blocks of the old volume were on the disks, and %d are", before, after)
	}
	run(t, "qemu-io", "-f", "raw", "-c", fmt.Sprintf("write -P %#x 0 8M", thickPattern), "-c", "flush", k.lun(r.iqn(), 1))
}

// replaces puts a disk in the place of one that is well.
func (k *rack) replaces(t *testing.T, r *layoutRow) {
	const fresh = "V-R"
	old := r.away[0]
	k.plug(t, fresh)
	k.machine.disk(t, fresh, "blank")
	k.during(t, r, func() {
		if said := k.shell(t, fmt.Sprintf("sanctl disk replace %s %s", old, fresh)); !strings.Contains(said, "is being filled") {
			t.Errorf("sanctl disk replace says\n%s", said)
		}
	})
	p := k.pool(t, r, "rebuilt", func(p status.Pool) bool {
		return p.State == "healthy" && slices.Contains(p.Disks, fresh) && !slices.Contains(p.Disks, old)
	})
	if len(p.Disks) != 3 || len(p.Missing) > 0 {
		t.Errorf("disks %v, missing %v", p.Disks, p.Missing)
	}
	k.unplug(t, r.fresh...)
	k.write(t, r, 2)
	k.reaches(t, r, "degraded-absent", r.fresh...)
	k.check(t, r)
	k.plug(t, r.fresh...)
	k.reaches(t, r, "healthy")
	r.away = []string{fresh}
}

// scrubs compares a pool's data with its parity: first when all is well, and then
// when something else is on one of its disks, where no volume has anything.
func (k *rack) scrubs(t *testing.T, r *layoutRow) {
	last := r.disks[len(r.disks)-1]
	for _, bad := range []bool{false, true} {
		name := k.machine.disk(t, last, "pool "+r.pool).Name
		if bad {
			k.shell(t, fmt.Sprintf("dd if=/dev/urandom of=/dev/%s bs=65536 count=16 seek=640; sync", name)) // 40 MiB behind its beginning
		}
		k.slow(t, last, 10)
		if said := k.shell(t, "sanctl pool scrub "+r.pool); !strings.Contains(said, "are being compared") {
			t.Errorf("sanctl pool scrub says\n%s", said)
		}
		if p := k.reaches(t, r, "checking"); p.Progress >= 100 {
			t.Errorf("progress %v", p.Progress)
		}
		k.slow(t, last, 0)
		p := k.reaches(t, r, "healthy")
		if (p.Mismatches > 0) != bad || strings.Contains(p.Detail, "sectors differ") != bad {
			t.Errorf("something else on disk %s: %v; %d sectors differ: %s", last, bad, p.Mismatches, p.Detail)
		}
	}
}

// spares loses a disk for good, and the spare that the configuration names takes its
// place by itself.
func (k *rack) spares(t *testing.T, rows []*layoutRow, r *layoutRow) {
	r.spare = "M-S"
	k.plug(t, r.spare)
	k.machine.disk(t, r.spare, "blank")
	k.applies(t, layoutsTOML(rows))
	lost := r.away[0]
	k.during(t, r, func() { k.unplug(t, lost) })
	p := k.pool(t, r, "with its spare", func(p status.Pool) bool { return p.State == "healthy" && slices.Contains(p.Disks, r.spare) })
	if len(p.Disks) != 3 || len(p.Missing) > 0 || slices.Contains(p.Disks, lost) {
		t.Errorf("disks %v, missing %v", p.Disks, p.Missing)
	}
	k.check(t, r)
	others := slices.DeleteFunc(p.Disks, func(d string) bool { return d == r.spare })
	spare := r.spare
	r.spare = "" // and 20 minutes again until a pool goes on without a disk for good
	k.applies(t, layoutsTOML(rows))
	k.unplug(t, others...)
	k.write(t, r, 2)
	k.check(t, r)
	k.plug(t, others...)
	k.reaches(t, r, "healthy")
	r.away = []string{spare, r.more[0]}
}

// givesUp loses a disk for good, and no other is there: the pool goes on without it, and
// volumes can be made. Then a blank one comes, is filled, and needed. A pool that has
// grown has room on its other disks instead, before it gives one up or afterwards.
func (k *rack) givesUp(t *testing.T, rows []*layoutRow, r *layoutRow) {
	lost := r.fresh[0]
	fresh := lost + "2"
	r.brief = true
	k.applies(t, layoutsTOML(rows))
	k.during(t, r, func() { k.unplug(t, lost) })
	p := k.pool(t, r, "without disk "+lost, func(p status.Pool) bool {
		return (p.State == "provisioning-cut" || len(r.more) > 1 && p.State == "healthy") && !slices.Contains(p.Disks, lost) && len(p.Missing) == 0
	})
	t.Logf("the pool is %s", p.State)
	r.brief = false // what is away afterwards isn't given up
	k.applies(t, layoutsTOML(rows))
	k.sanctl(t, "is there", fmt.Sprintf("volume clone %s/on-%s clone-of-%s", r.pool, r.pool, r.pool))
	k.write(t, r, 4)
	k.check(t, r)

	if len(r.more) <= 1 {
		k.during(t, r, func() { k.plug(t, fresh) })
		k.pool(t, r, "with disk "+fresh, func(p status.Pool) bool { return slices.Contains(p.Disks, fresh) })
	}
	p = k.reaches(t, r, "healthy")
	if len(p.Missing) > 0 {
		t.Errorf("missing %v", p.Missing)
	}
	if !slices.ContainsFunc(p.Volumes, func(v status.Volume) bool { return v.Name == "clone-of-"+r.pool }) {
		t.Errorf("volumes %+v", p.Volumes)
	}
	k.during(t, r, func() { k.unplug(t, r.away...) })
	k.reaches(t, r, "degraded-absent", r.away...)
	k.write(t, r, 2)
	k.check(t, r)
	k.plug(t, r.away...)
	k.reaches(t, r, "healthy")
}
