//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
)

// A rack is a machine with a pool of each layout.
type rack struct {
	*machine
	dir     string
	applied int // configurations
}

// disk is a disk of 128 MiB; blank at first.
func (k *rack) disk(t *testing.T, serial string) qemu.Disk {
	t.Helper()
	return (&site{dir: k.dir}).disk(t, serial, 128<<20, qemu.SCSI)
}

func (k *rack) plug(t *testing.T, serials ...string) {
	t.Helper()
	for _, s := range serials {
		if err := k.Plug(t.Context(), k.disk(t, s)); err != nil {
			t.Fatal(err)
		}
	}
}

func (k *rack) unplug(t *testing.T, serials ...string) {
	t.Helper()
	for _, s := range serials {
		if err := k.Unplug(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

func (k *rack) slow(t *testing.T, serial string, iops int) {
	t.Helper()
	if err := k.Break(t.Context(), serial, qemu.Fault{IOPS: iops}); err != nil {
		t.Fatal(err)
	}
}

// write writes and flushes the next blocks of a row's LUN.
func (k *rack) write(t *testing.T, r *layoutRow, n int) {
	t.Helper()
	var args []string
	at := func(i int) (block int, pattern byte) { return i % layoutBlocks, byte(1 + i%250) }
	for i := r.next; i < r.next+n; i++ {
		block, pattern := at(i)
		args = append(args, "-c", fmt.Sprintf("write -P %d %dM 1M", pattern, block))
	}
	if err := k.qemuIO(t, r, append(args, "-c", "flush")); err != nil {
		t.Errorf("%s: writing failed: %v", r.pool, err)
		return
	}
	for i := r.next; i < r.next+n; i++ {
		block, pattern := at(i)
		r.wrote[block] = pattern
	}
	r.next += n
}

// check reads all that was acknowledged.
func (k *rack) check(t *testing.T, r *layoutRow) {
	t.Helper()
	var args []string
	for block, pattern := range r.wrote {
		if pattern != 0 {
			args = append(args, "-c", fmt.Sprintf("read -P %d %dM 1M", pattern, block))
		}
	}
	if err := k.qemuIO(t, r, args); err != nil {
		t.Errorf("%s: what was written isn't there: %v", r.pool, err)
	}
	k.holds(t, r.fat(), r.iqn(), 1, thickPattern, "8M")
}

func (k *rack) qemuIO(t *testing.T, r *layoutRow, args []string) error {
	ctx, cancel := context.WithTimeout(t.Context(), layoutPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-io", append([]string{"-f", "raw", k.url(r.iqn())}, args...)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "failed") {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// during does something while an initiator writes.
func (k *rack) during(t *testing.T, r *layoutRow, do func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			k.write(t, r, 2)
		}
	}()
	defer func() { cancel(); <-done }()
	time.Sleep(500 * time.Millisecond)
	do()
	time.Sleep(time.Second)
}

// reaches waits until the status tells that state of a row's pool, with these
// words, and returns what it says.
func (k *rack) reaches(t *testing.T, r *layoutRow, state string, words ...string) status.Pool {
	t.Helper()
	return k.pool(t, r, state+" "+strings.Join(words, " "), func(p status.Pool) bool {
		return p.State == state && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(p.Detail, w) })
	})
}

// applies has the machine go over to another configuration, however long that takes.
func (k *rack) applies(t *testing.T, toml string) {
	t.Helper()
	k.applied++
	k.shell(t, fmt.Sprintf("(%s </dev/null >/tmp/new.toml; sanctl config apply --force /tmp/new.toml; echo APPLIED-%d-$?) >/tmp/said 2>&1 & true", k.fetched(t, toml), k.applied))
	var said string
	for end := time.Now().Add(layoutPatience); time.Now().Before(end); time.Sleep(time.Second) {
		if said = k.shell(t, "cat /tmp/said"); strings.Contains(said, fmt.Sprintf("APPLIED-%d-0", k.applied)) {
			return
		}
	}
	t.Fatalf("the configuration isn't applied; sanctl says\n%s", said)
}

// pool waits until the status of a row's pool is as it should be.
func (k *rack) pool(t *testing.T, r *layoutRow, what string, is func(status.Pool) bool) status.Pool {
	t.Helper()
	var last status.Pool
	for end := time.Now().Add(layoutPatience); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		pools := k.status(t).Pools
		i := slices.IndexFunc(pools, func(p status.Pool) bool { return p.Name == r.pool })
		if i < 0 {
			t.Fatalf("pool %s isn't in the status", r.pool)
		}
		if last = pools[i]; is(last) {
			return last
		}
	}
	t.Fatalf("pool %s never is %s: %+v", r.pool, what, last)
	return last
}
