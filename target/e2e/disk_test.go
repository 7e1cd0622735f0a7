//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// write writes the pattern to a disk, at a number of MiB.
func (r *rig) write(t *testing.T, dev string, at int) {
	t.Helper()
	r.run(t, fmt.Sprintf("dd if=/pattern of=%s bs=1M seek=%d oflag=direct conv=notrunc,fsync", dev, at))
}

// reads checks that a disk has these bytes at a number of MiB.
func (r *rig) reads(t *testing.T, dev string, at int, want ...[]byte) {
	t.Helper()
	hash := sha256.New()
	size := 0
	for _, w := range want {
		hash.Write(w)
		size += len(w)
	}
	got := r.run(t, fmt.Sprintf("dd if=%s bs=64k skip=%d count=%d iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1",
		dev, at*mib>>16, size>>16))
	if got != hex.EncodeToString(hash.Sum(nil)) {
		t.Errorf("%s does not have at %d MiB what it should", dev, at)
	}
}

// load writes a MiB of zeros and one of the pattern to the start of a disk in
// turn until the function that it returns is called, which ends with the
// pattern and fails the test if a write has failed. advance waits until some more were written.
func (r *rig) load(t *testing.T, dev string) (advance, stop func()) {
	t.Helper()
	r.run(t, "echo 0 >/run/rounds")
	end := r.background(t, fmt.Sprintf(`n=0
while [ ! -e /run/stop ]; do
	for from in /dev/zero /pattern; do
		dd if=$from of=%s bs=64k count=16 oflag=direct conv=notrunc 2>/run/dd || echo "$from, round $n: $(cat /run/dd)"
	done
	n=$((n+1))
	echo $n >/run/rounds
done`, dev))
	advance = func() {
		t.Helper()
		r.run(t, "cp /run/rounds /run/rounds.before")
		r.until(t, "[ $(cat /run/rounds) -gt $(($(cat /run/rounds.before) + 1)) ]")
	}
	return advance, func() {
		t.Helper()
		if said := end(); said != "" {
			t.Errorf("writes to %s have failed: %s", dev, said)
		}
		t.Logf("the guest wrote %s times 2 MiB", r.run(t, "cat /run/rounds"))
		r.reads(t, dev, 0, r.pattern[:mib])
	}
}

// allocated is how many bytes a file of the host takes.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Blocks * 512
}

// unmap gives space back in all ways that Linux has.
func unmap(t *testing.T, r *rig) {
	path := sparse(t, 64*mib)
	d := r.serve(t, "--lun", "0="+path+",thin", "--lun", "1=mem:16M", "--iqn", iqn)
	l := login{port: d.ports[0]}
	r.login(t, l)
	sd := r.disk(t, l, "0")
	zeros := make([]byte, len(r.pattern))
	for _, tt := range []struct {
		name, command string
		gone          int // MiB, from the start
	}{
		{"discard", "blkdiscard -o 0 -l 1048576 DEV", 1},
		{"UNMAP", "sg_unmap --lba=0 --num=4096 --force DEV", 2},
		{"UNMAP of two ranges", "sg_unmap --lba=0,2048 --num=2048,4096 --force DEV", 3},
		{"UNMAP, range after range", "sg_unmap --all=0,16384 --force DEV", 4},
		{"WRITE SAME(16), UNMAP", "sg_write_same --unmap --16 --lba=0 --num=4096 --in=/dev/zero --xferlen=512 DEV", 2},
		{"WRITE SAME(16), UNMAP, NDOB", "sg_write_same --unmap --ndob --16 --lba=0 --num=4096 DEV", 2},
		{"WRITE SAME(10), UNMAP", "sg_write_same --unmap --10 --lba=0 --num=4096 --in=/dev/zero --xferlen=512 DEV", 2},
	} {
		r.write(t, sd.dev(), 0)
		r.command(t, sd, tt.command)
		if left := allocated(t, path); left > int64(len(r.pattern)-tt.gone*mib) {
			t.Errorf("%s: the file takes %d bytes, want %d MiB less than %d", tt.name, left, tt.gone, len(r.pattern))
		}
		r.reads(t, sd.dev(), 0, zeros[:tt.gone*mib], r.pattern[tt.gone*mib:])
	}
	if max := r.run(t, "cat "+sd.block()+"/queue/discard_max_bytes"); max == "0" {
		t.Error("the guest can't discard on a thin unit")
	}
	if max := r.run(t, "cat "+r.disk(t, l, "1").block()+"/queue/discard_max_bytes"); max != "0" {
		t.Errorf("the guest can discard %s bytes on a unit that isn't thin", max)
	}
}

// command has the guest run a command with DEV for the disk, which must
// succeed, and returns what it printed.
func (r *rig) command(t *testing.T, d disk, command string) string {
	t.Helper()
	return r.run(t, strings.ReplaceAll(command, "DEV", d.dev()))
}

// grow makes a unit larger that is in use.
func grow(t *testing.T, r *rig) {
	path := sparse(t, 64*mib)
	d := r.serve(t, "--lun", "0="+path, "--iqn", iqn)
	l := login{port: d.ports[0]}
	r.login(t, l)
	sd := r.disk(t, l, "0")
	advance, stop := r.load(t, sd.dev())
	if err := os.Truncate(path, 96*mib); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	advance()
	stop()
	// The unit attention comes with the first command after targetd has seen the
	// new size, which takes it up to a second.
	r.until(t, "dd if="+sd.dev()+" of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null; dmesg | grep -q 'Capacity data has changed'")
	r.run(t, "iscsiadm -m session --rescan")
	if got, want := r.run(t, "cat "+sd.block()+"/size"), strconv.Itoa(96*mib/512); got != want {
		t.Errorf("the disk has %s sectors after it has grown, want %s", got, want)
	}
	r.write(t, sd.dev(), 88)
	r.reads(t, sd.dev(), 88, r.pattern)
}

// readOnly tries to change a unit that must not be changed.
func readOnly(t *testing.T, r *rig) {
	path := sparse(t, 16*mib)
	if err := os.WriteFile(path, bytes.Repeat(r.pattern, 4), 0o600); err != nil {
		t.Fatal(err)
	}
	d := r.serve(t, "--lun", "0="+path+",ro,thin", "--iqn", iqn)
	l := login{port: d.ports[0]}
	r.login(t, l)
	sd := r.disk(t, l, "0")
	if got := r.run(t, "cat "+sd.block()+"/ro"); got != "1" {
		t.Errorf("the disk's ro is %s", got)
	}
	r.reads(t, sd.dev(), 8, r.pattern)
	for _, command := range []string{
		"dd if=/dev/zero of=DEV bs=4k count=1 oflag=direct",
		"blkdiscard DEV",
	} {
		if out, status := r.try(t, strings.ReplaceAll(command, "DEV", sd.dev())); status == 0 {
			t.Errorf("%s: no error: %s", command, out)
		}
	}
	sg := "/dev/" + r.run(t, "ls "+sd.block()+"/device/scsi_generic")
	// These go past what the kernel knows: the target refuses them.
	for _, command := range []string{
		"sg_raw -s 512 -i /pattern DEV 2a 00 00 00 00 00 00 00 01 00",
		"sg_write_same --16 --lba=0 --num=8 --in=/dev/zero --xferlen=512 DEV",
		"sg_unmap --lba=0 --num=8 --force DEV",
	} {
		if out, status := r.try(t, strings.ReplaceAll(command, "DEV", sg)); status != sgProtected {
			t.Errorf("%s: exit status %d, want %d: %s", command, status, sgProtected, out)
		}
	}
	r.reads(t, sd.dev(), 0, r.pattern)
}

// reset resets the unit, the target and the session amid writes.
func reset(t *testing.T, r *rig) {
	d := r.serve(t, "--lun", "0=mem:64M", "--iqn", iqn)
	l := login{port: d.ports[0]}
	r.login(t, l)
	sd := r.disk(t, l, "0")
	advance, stop := r.load(t, sd.dev())
	for _, kind := range []string{"-d", "-t", "-d"} {
		advance()
		r.run(t, fmt.Sprintf("sg_reset %s %s", kind, sd.dev()))
	}
	advance()
	stop()
	if got := r.run(t, "dmesg | grep -c 'Power-on or device reset occurred'"); got == "0" {
		t.Error("no unit attention has told of the resets")
	}
}
