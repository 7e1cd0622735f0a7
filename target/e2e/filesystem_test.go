//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ext4 uses a unit with 512-byte blocks, and looks at it from the host.
func ext4(t *testing.T, r *rig) {
	path := sparse(t, 512*mib)
	filesystem(t, r, "ext4", path+",thin", "mkfs.ext4 -q -F $dev", "e2fsck -fn $dev")
	run(t, "e2fsck", "-fn", path)
	kept := filepath.Join(t.TempDir(), "kept")
	run(t, "debugfs", "-R", "dump /kept "+kept, path)
	if got, err := os.ReadFile(kept); err != nil || !bytes.Equal(got, r.pattern) {
		t.Errorf("the backing file does not hold the guest's file: %d bytes, %v", len(got), err)
	}
}

// xfs uses a unit with 4096-byte blocks.
func xfs(t *testing.T, r *rig) {
	filesystem(t, r, "xfs", sparse(t, 512*mib)+",thin,bs=4096", "mkfs.xfs -q -s size=4096 $dev", "xfs_repair -n $dev")
}

// filesystem makes a file system and uses it, with digests, while the target
// is killed and started again.
func filesystem(t *testing.T, r *rig, kind, backing, mkfs, check string) {
	path, _, _ := strings.Cut(backing, ",")
	d := r.serve(t, "--lun", "0="+backing, "--iqn", iqn)
	l := login{port: d.ports[0], settings: digestSettings("CRC32C", "CRC32C")}
	r.login(t, l)
	dev := r.disk(t, l, "0").dev()
	on := func(command string) string { return "dev=" + dev + "; " + command }
	r.run(t, on(mkfs))
	r.run(t, on("mount -o discard -t "+kind+" $dev /mnt"))
	r.run(t, "cp /pattern /mnt/kept && cp /pattern /mnt/removed && sync")
	full := allocated(t, path)
	r.run(t, "rm /mnt/removed && sync && fstrim /mnt")
	if left := allocated(t, path); left > full-int64(len(r.pattern))*3/4 {
		t.Errorf("removing %d bytes has given back %d", len(r.pattern), full-left)
	}

	// The target goes away amid writes: by surprise, and in good order.
	r.run(t, "echo 0 >/run/rounds")
	end := r.background(t, `n=0
while [ ! -e /run/stop ]; do
	rm -f /mnt/again && cp /pattern /mnt/again && sync && cmp /pattern /mnt/again || echo "error in round $n"
	n=$((n+1))
	echo $n >/run/rounds
done`)
	r.until(t, "[ $(cat /run/rounds) -gt 1 ]")
	for _, end := range []func(*testing.T){d.kill, d.stop} {
		end(t)
		time.Sleep(time.Second) // let reconnects fail
		d.start(t)
		r.run(t, "cp /run/rounds /run/rounds.before")
		r.until(t, "[ $(cat /run/rounds) -gt $(($(cat /run/rounds.before) + 1)) ]")
	}
	if said := end(); said != "" {
		t.Errorf("the outage was noticed: %s", said)
	}
	if got := r.run(t, "cat /sys/class/iscsi_session/session*/state"); got != "LOGGED_IN" {
		t.Errorf("the session is %s after the outage", got)
	}

	r.run(t, "umount /mnt")
	r.run(t, on(check))
	r.run(t, on("mount -o ro -t "+kind+" $dev /mnt"))
	for _, name := range []string{"kept", "again"} {
		if got := r.run(t, fmt.Sprintf("sha256sum </mnt/%s | cut -d' ' -f1", name)); got != r.sum {
			t.Errorf("the file %s is not what was written: %s", name, got)
		}
	}
	r.run(t, "umount /mnt")
	r.logout(t, l)
}
