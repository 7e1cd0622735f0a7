//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
)

// bench is a machine whose disks come and go, and what an initiator has written
// to its LUN.
type bench struct {
	*machine
	site     *site
	identity identity

	mu    sync.Mutex
	wrote [blocks]byte // the pattern of each block that was acknowledged and flushed; 0: not known
	next  byte
	total int64 // bytes

	slowest time.Duration // answer to sanctl status
}

// The LUN is written in blocks of a MiB.
const blocks = 96

// breaks has a disk fail in some way, under I/O, and then work again. A disk that
// fails again and again isn't tried any more, so not all rows use the same one.
func (b *bench) breaks(t *testing.T, serial string, f qemu.Fault) {
	t.Helper()
	b.during(t, func() { b.fault(t, serial, f) })
	b.check(t)
	if f.Reads {
		b.failsToRead(t, serial)
	} else {
		b.reaches(t, "degraded-failed", serial)
	}
	b.fault(t, serial, qemu.Fault{})
	b.write(t, 8)
	b.reaches(t, "healthy")
	b.without(t, map[string]string{"R-1": "R-2", "R-2": "R-1"}[serial])
}

// failsToRead reads until the disk has failed to: which disk is read the kernel chooses,
// but a comparison reads all. What can't be read is read from the other copy, and written
// anew.
func (b *bench) failsToRead(t *testing.T, serial string) {
	t.Helper()
	for i := range 20 {
		if i == 3 {
			b.shell(t, "sanctl pool scrub tank")
		}
		c, err := b.Count(t.Context(), serial)
		if err != nil {
			t.Fatal(err)
		}
		if c.FailedReads > 0 {
			p := b.statusInTime(t).Pools[0]
			for end := time.Now().Add(30 * time.Second); strings.Contains(p.Detail, "missing") && time.Now().Before(end); p = b.statusInTime(t).Pools[0] {
				time.Sleep(time.Second) // until it has been looked at
			}
			t.Logf("%d reads failed; the pool is %s: %s", c.FailedReads, p.State, p.Detail)
			if p.State == "healthy" || !strings.Contains(p.Detail, "disk "+serial) || strings.Contains(p.Detail, "missing") {
				t.Errorf("the status doesn't say so")
			}
			return
		}
		b.check(t)
	}
	t.Error("no read has failed")
}

// without takes a disk away, without which all is there, and returns the digest of the
// LUN then.
func (b *bench) without(t *testing.T, serial string) [32]byte {
	t.Helper()
	b.unplug(t, serial)
	b.reaches(t, "degraded-absent", serial)
	b.check(t)
	file := filepath.Join(b.site.dir, "lun.img")
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "raw", b.url(iqn), file)
	b.plug(t, serial)
	b.reaches(t, "healthy")
	return digest(t, file)
}

// compares compares the disks' copies, and tells how many sectors differ.
func (b *bench) compares(t *testing.T) int64 {
	t.Helper()
	b.shell(t, "sanctl pool scrub tank") // if that doesn't go on already
	for end := time.Now().Add(2 * time.Minute); strings.Contains(b.shell(t, "dmsetup status"), " check "); time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatal("the comparison doesn't end")
		}
	}
	return b.reaches(t, "healthy").Mismatches
}

// writeUntilTheCut has an initiator write until the machine loses power, then. What was under
// way then isn't expected to be there.
func (b *bench) writeUntilTheCut(t *testing.T, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b.tryWrite(ctx, 4) == nil {
		}
	}()
	time.Sleep(after)
	b.Kill()
	cancel()
	<-done
}

// drive is a disk of the bench; blank at first.
func (b *bench) drive(t *testing.T, serial string) qemu.Disk {
	t.Helper()
	return b.site.disk(t, serial, 512<<20, qemu.SCSI)
}

func (b *bench) unplug(t *testing.T, serial string) {
	t.Helper()
	if err := b.Unplug(t.Context(), serial); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) plug(t *testing.T, serial string) {
	t.Helper()
	if err := b.Plug(t.Context(), b.drive(t, serial)); err != nil {
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
	if err := b.tryWrite(t.Context(), n); err != nil {
		t.Errorf("writing failed: %v", err)
	}
}

func (b *bench) tryWrite(ctx context.Context, n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var args []string
	first := int(b.next)
	for i := range n {
		args = append(args, "-c", fmt.Sprintf("write -P %d %dM 1M", 1+(first+i)%250, (first+i)%blocks))
		b.wrote[(first+i)%blocks] = 0
	}
	b.next = byte((first + n) % 250)
	if err := b.qemuIO(ctx, append(args, "-c", "flush")); err != nil {
		return err
	}
	for i := range n {
		b.wrote[(first+i)%blocks] = byte(1 + (first+i)%250)
	}
	b.total += int64(n) << 20
	return nil
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
	if err := b.qemuIO(t.Context(), args); err != nil {
		t.Errorf("what was written isn't there: %v", err)
	}
}

func (b *bench) qemuIO(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
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
func (b *bench) reaches(t *testing.T, state string, words ...string) status.Pool {
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
		return last[0]
	}
	t.Fatalf("the pool doesn't get to %s: %+v", state, last)
	return status.Pool{}
}

// pool waits until the pool is as it should be.
func (b *bench) pool(t *testing.T, is func(status.Pool) bool) {
	t.Helper()
	var last []status.Pool
	for end := time.Now().Add(4 * time.Minute); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		if last = b.statusInTime(t).Pools; len(last) == 1 && is(last[0]) {
			return
		}
	}
	t.Fatalf("the pool never is as it should be: %+v", last)
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
