//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sanstick/imagebuild/qemu"
	"sanstick/target/iscsitest/load"
)

// diskIOPS is what a hard disk does of small requests, as good as it gets.
const diskIOPS = 200

// TestRebuildLeavesHalf fills a blank disk while a client works, and stops that in
// turn. With it the client keeps at least half of what it gets done without.
func TestRebuildLeavesHalf(t *testing.T) {
	t.Parallel()
	s := &site{dir: t.TempDir()}
	s.stick = filepath.Join(s.dir, "stick.img")
	s.configure(t, redundantTOML)
	disk := func(serial string) qemu.Disk {
		return s.disk(t, serial, 8<<30, qemu.SCSI)
	}
	m := s.boot(t, disk("R-1"), disk("R-2"))
	b := &bench{site: s, machine: m}
	m.awaitLUN(t, iqn)
	b.write(t, blocks) // what was never written needs no disk
	if err := m.Unplug(t.Context(), "R-2"); err != nil {
		t.Fatal(err)
	}
	b.reaches(t, "degraded-absent", "R-2")
	b.write(t, 8) // a disk that comes in the moment of the loss may be meant for something else
	time.Sleep(5 * time.Second)
	if err := m.Plug(t.Context(), disk("R-3")); err != nil {
		t.Fatal(err)
	}
	b.reaches(t, "rebuilding", "R-3")
	// Until R-2 is out of the pool LVM works at it.
	for end := time.Now().Add(bootTime); len(m.status(t).Pools[0].Missing) > 0 && time.Now().Before(end); time.Sleep(time.Second) {
	}
	for _, serial := range []string{"R-1", "R-3"} {
		if err := m.Break(t.Context(), serial, qemu.Fault{IOPS: diskIOPS}); err != nil {
			t.Fatal(err)
		}
	}
	work := func() *load.Result {
		r, err := load.Run(t.Context(), load.Spec{
			Addr: fmt.Sprintf("127.0.0.1:%d", m.port), Target: iqn, Depth: 8, Size: 4096, Random: true, WritePercent: 50, Duration: 16 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	// What the kernel says of the volume with the data, and for its filling.
	filled := func(message string) string {
		said := m.shell(t, "dmsetup message tank-thinpool_tdata 0 "+message+"; dmsetup status tank-thinpool_tdata")
		for line := range strings.Lines(said) {
			if f := strings.Fields(line); len(f) > 7 && f[2] == "raid" {
				return strings.Join(f[5:8], " ")
			}
		}
		return said
	}
	var with, without float64
	for range 4 {
		filled("frozen")
		a := work().Rate()
		from := filled("idle")
		time.Sleep(time.Second)
		c := work().Rate()
		t.Logf("%.0f requests a second, %.0f while the disk is filled; %s -> %s", a, c, from, filled("idle"))
		without, with = without+a, with+c
	}
	t.Logf("a client keeps %.2f", with/without)
	if with < without/2 {
		t.Error("that is less than half")
	}
	if st := m.status(t); st.Pools[0].State != "rebuilding" {
		t.Errorf("the pool is %s: that measured something else", st.Pools[0].State)
	}
}
