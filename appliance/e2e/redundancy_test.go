//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
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

// bench is a machine whose disks come and go, and what an initiator has written
// to its LUN.
type bench struct {
	*machine
	site     *site
	identity identity

	mu    sync.Mutex
	wrote [blocks]byte // the pattern of each block that was acknowledged and flushed
	next  byte

	slowest time.Duration // answer to sanctl status
}

// The LUN is written in blocks of a MiB.
const blocks = 96

// TestDisksComeAndGo loses disks of a mirror in every way, under I/O, and gets
// them back or gets others. After each row all that was acknowledged and flushed
// is there, the LUN is the same, and the status said the truth.
func TestDisksComeAndGo(t *testing.T) {
	all := t
	s := &site{dir: t.TempDir()}
	s.stick = filepath.Join(s.dir, "stick.img")
	s.configure(t, redundantTOML)
	disk := func(serial string) qemu.Disk { return s.disk(t, serial, 512<<20, qemu.SCSI) }
	b := &bench{site: s, machine: s.boot(t, disk("R-1"), disk("R-2"))}
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
			b.reaches(t, "degraded-absent", "R-2")
			b.write(t, 8)
			b.during(t, func() { b.plug(t, disk("R-2")) })
			b.reaches(t, "healthy")
		}},
		{"pulled and plugged while nobody writes", func(t *testing.T) {
			b.unplug(t, "R-1")
			b.plug(t, disk("R-1"))
			b.reaches(t, "healthy")
			b.unplug(t, "R-2")
			b.write(t, 4)
			b.check(t)
			b.plug(t, disk("R-2"))
			b.reaches(t, "healthy")
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
		}},
		{"a blank disk in its place, and power lost while it is filled", func(t *testing.T) {
			b.unplug(t, "R-2")
			b.write(t, 8)
			b.reaches(t, "degraded-absent", "R-2")
			b.plug(t, disk("R-3"))
			b.fault(t, "R-3", qemu.Fault{Bytes: 4 << 20})
			b.reaches(t, "rebuilding", "R-3")
			b.write(t, 8)
			b.Kill()
			b.machine = s.boot(all, disk("R-1"), disk("R-3")) // the rows after this one need it, too
			b.awaitLUN(t, iqn)
			b.check(t)
			b.reaches(t, "healthy")
		}},
		{"the old disk is back", func(t *testing.T) {
			b.plug(t, disk("R-2"))
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
			b.plug(t, disk("R-1"))
			b.reaches(t, "healthy")
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

// breaks has a disk fail in some way, under I/O, and then work again. A disk that
// fails again and again isn't tried any more, so not all rows use the same one.
func (b *bench) breaks(t *testing.T, serial string, f qemu.Fault) {
	t.Helper()
	b.during(t, func() { b.fault(t, serial, f) })
	b.check(t)
	if !f.Reads { // what can't be read is read from the other copy, and written anew
		b.reaches(t, "degraded-failed", serial)
	}
	b.fault(t, serial, qemu.Fault{})
	b.write(t, 8)
	b.reaches(t, "healthy")
}

func (b *bench) unplug(t *testing.T, serial string) {
	t.Helper()
	if err := b.Unplug(t.Context(), serial); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) plug(t *testing.T, d qemu.Disk) {
	t.Helper()
	if err := b.Plug(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) fault(t *testing.T, serial string, f qemu.Fault) {
	t.Helper()
	if err := b.Break(t.Context(), serial, f); err != nil {
		t.Fatal(err)
	}
}

// during does something while an initiator writes.
func (b *bench) during(t *testing.T, do func()) {
	t.Helper()
	stop := b.writing(t)
	time.Sleep(500 * time.Millisecond)
	do()
	time.Sleep(time.Second)
	stop()
}

// writing has an initiator write until stop is called.
func (b *bench) writing(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			b.write(t, 4)
		}
	}()
	return func() { cancel(); <-done }
}

// write writes and flushes the next blocks. What fails isn't expected to be there,
// and fails the test.
func (b *bench) write(t *testing.T, n int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var args []string
	first := int(b.next)
	for i := range n {
		args = append(args, "-c", fmt.Sprintf("write -P %d %dM 1M", 1+(first+i)%250, (first+i)%blocks))
	}
	if err := b.qemuIO(t, append(args, "-c", "flush")); err != nil {
		t.Errorf("writing failed: %v", err)
		return
	}
	for i := range n {
		b.wrote[(first+i)%blocks] = byte(1 + (first+i)%250)
	}
	b.next = byte((first + n) % 250)
}

// check reads all that was acknowledged.
func (b *bench) check(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var args []string
	for i, p := range b.wrote {
		if p != 0 {
			args = append(args, "-c", fmt.Sprintf("read -P %d %dM 1M", p, i))
		}
	}
	if err := b.qemuIO(t, args); err != nil {
		t.Errorf("what was written isn't there: %v", err)
	}
}

func (b *bench) qemuIO(t *testing.T, args []string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-io", append([]string{"-f", "raw", b.url(iqn)}, args...)...).CombinedOutput()
	text := string(out)
	if err != nil || strings.Contains(text, "failed") {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

// reaches waits until the status tells that state of the pool; the detail names
// all words.
func (b *bench) reaches(t *testing.T, state string, words ...string) {
	t.Helper()
	var last []status.Pool
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		last = b.statusInTime(t).Pools
		if len(last) != 1 || last[0].State != state {
			continue
		}
		for _, w := range words {
			if !strings.Contains(last[0].Detail, w) {
				t.Errorf("state %s: %q doesn't name %s", state, last[0].Detail, w)
			}
		}
		if (last[0].Health == status.OK) != (state == "healthy") {
			t.Errorf("state %s, but health %s", state, last[0].Health)
		}
		return
	}
	t.Fatalf("the pool doesn't get to %s: %+v", state, last)
}

// statusLimit is how long the machine may take to answer sanctl status. The daemon
// has a second for it, at most 0.7 s of which it waits for the kernel; see
// TestStatusOfAHungDisk in package pool. The rest is for emulated processors, which
// take a second to start sanctl, and run LVM at the same time. On a host that has
// more to do than it can they take longer to start sanctl, which is taken, too.
const statusLimit = 3 * time.Second

var realTime = regexp.MustCompile(`real\s+(\d+)m([\d.]+)s`)

// statusInTime fails if the status takes longer than it may, by the machine's clock:
// what the console needs to show it isn't counted.
func (b *bench) statusInTime(t *testing.T) status.Snapshot {
	t.Helper()
	for range 3 { // the log may come in between
		out := b.shell(t, "time sanctl status --json > /run/status; cat /run/status")
		m := realTime.FindStringSubmatch(out)
		start := strings.Index(out, "\n{")
		if m == nil || start < 0 {
			continue
		}
		var st status.Snapshot
		if err := json.NewDecoder(strings.NewReader(out[start:])).Decode(&st); err != nil {
			continue
		}
		took := realDuration(t, m)
		b.slowest = max(b.slowest, took)
		if took <= statusLimit {
			return st
		}
		if m = realTime.FindStringSubmatch(b.shell(t, "time sanctl help > /run/help")); m == nil {
			continue
		}
		if start := realDuration(t, m); took > time.Second+3*start {
			t.Errorf("the status took %v, where starting sanctl takes %v", took, start)
		}
		return st
	}
	t.Fatal("cannot read the status")
	return status.Snapshot{}
}

func realDuration(t *testing.T, m []string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(m[1] + "m" + m[2] + "s")
	if err != nil {
		t.Fatal(err)
	}
	return d
}
