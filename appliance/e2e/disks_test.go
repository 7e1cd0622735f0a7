//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
)

const (
	serialWindows = "E2E-WINDOWS"
	serialCopy    = "E2E-COPY"
	serialOther   = "E2E-OTHER-COPY"
	serialForeign = "E2E-FOREIGN"
)

// TestOtherDisks has disks beside those of the pool: one with Windows on it, and
// copies of a pool's disk. Neither is ever written, and the pool is used on the
// right disk, or not at all.
func TestOtherDisks(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodTOML)
	for i := range s.disks {
		s.disks[i].Bus = qemu.SCSI
	}
	windows := qemu.Disk{Path: windowsDisk(t, s.dir), Serial: serialWindows}
	before := digest(t, windows.Path)
	copied := qemu.Disk{Path: filepath.Join(s.dir, "copy.img"), Serial: serialCopy, Bus: qemu.SCSI}
	foreign := qemu.Disk{Path: filepath.Join(s.dir, "foreign.img"), Serial: serialForeign}
	run(t, "truncate", "-s", "128M", foreign.Path)
	var asCopied, asForeign [32]byte
	var first identity
	same := func(t *testing.T, m *machine) {
		t.Helper()
		if again := m.identity(t); again != first {
			t.Errorf("the LUN changed its identity from\n%+v\nto\n%+v", first, again)
		}
	}

	t.Run("Windows, and a copy that is plugged in", func(t *testing.T) {
		m := s.boot(t, s.disks[0], s.disks[1], windows, foreign)
		m.awaitLUN(t, iqn)
		first = m.identity(t)
		run(t, "qemu-io", "-f", "raw", "-c", "write -P 0x11 0 4M", "-c", "flush", m.url(iqn))

		d := m.disk(t, serialWindows, `NTFS filesystem "Windows"`)
		var holds []string
		for _, c := range d.Holds {
			holds = append(holds, c.Text)
		}
		if text := strings.Join(holds, "; "); !strings.Contains(text, `NTFS filesystem "Windows"`) || !strings.Contains(text, "Microsoft reserved partition") {
			t.Errorf("the disk with Windows holds %s", text)
		}
		if d.Port == "" {
			t.Error("nothing says where the disk is plugged in")
		}
		if text := m.shell(t, "sanctl disks"); !strings.Contains(text, serialWindows+": GPT partition table") {
			t.Errorf("sanctl disks says\n%s", text)
		}

		// A volume group as another system makes it.
		f := m.disk(t, serialForeign, "blank")
		const other = `--config 'local/system_id="elsewhere"'`
		said := m.shell(t, fmt.Sprintf("export DM_DISABLE_UDEV=1; lvm vgcreate %s pve /dev/%s && lvm lvcreate %s -y -L 32m -n root pve; lvm vgchange %s -an pve", other, f.Name, other, other))
		if !strings.Contains(said, `"root" created`) {
			t.Fatalf("LVM says\n%s", said)
		}

		run(t, "cp", "--sparse=always", s.disks[0].Path, copied.Path)
		asCopied = digest(t, copied.Path)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := m.Plug(ctx, copied); err != nil {
			t.Fatal(err)
		}
		m.disk(t, serialCopy, "copy of disk "+serial1)
		st := m.status(t)
		if len(st.Pools) != 1 || st.Pools[0].Health != status.OK || !slices.Contains(st.Pools[0].Disks, serial1) || slices.Contains(st.Pools[0].Disks, serialCopy) {
			t.Errorf("pools %+v", st.Pools)
		}
		if !slices.ContainsFunc(st.Problems, func(p status.Problem) bool {
			return strings.Contains(p.What, serialCopy) && strings.Contains(p.What, serial1) && strings.Contains(p.Do, serialCopy)
		}) {
			t.Errorf("no problem names both disks: %+v", st.Problems)
		}
		// What comes now is not on the copy.
		run(t, "qemu-io", "-f", "raw", "-c", "write -P 0x22 0 4M", "-c", "flush", m.url(iqn))
		m.powerDown(t)
		asForeign = digest(t, foreign.Path)
	})
	if t.Failed() {
		return
	}

	t.Run("the disks on other ports, and the copy is there", func(t *testing.T) {
		m := s.boot(t, copied, windows, foreign, s.disks[1], s.disks[0])
		m.awaitLUN(t, iqn)
		same(t, m)
		for range 3 { // from both legs of the mirror
			run(t, "qemu-io", "-f", "raw", "-r", "-c", "read -P 0x22 0 4M", m.url(iqn))
		}
		m.disk(t, serialCopy, "copy of disk "+serial1)
		if st := m.status(t); len(st.Pools) != 1 || st.Pools[0].Health != status.OK || len(st.Pools[0].Missing) != 0 {
			t.Errorf("pools %+v", st.Pools)
		}
		d := m.disk(t, serialForeign, "LVM volume group pve")
		for end := time.Now().Add(bootTime); len(d.Holds) == 0 && time.Now().Before(end); time.Sleep(time.Second) {
			d = m.disk(t, serialForeign, "LVM volume group pve")
		}
		if len(d.Holds) != 1 || d.Holds[0].Set == nil || d.Holds[0].Set.Name != "pve" || d.Holds[0].Set.Owner != "elsewhere" {
			t.Errorf("the disk of another system holds %+v", d.Holds)
		}
		if active := m.shell(t, "dmsetup ls"); strings.Contains(active, "pve") {
			t.Errorf("the group of another system is active:\n%s", active)
		}
		m.powerDown(t)
		if digest(t, copied.Path) != asCopied {
			t.Error("the copy was written to")
		}
		if digest(t, foreign.Path) != asForeign {
			t.Error("the disk of another system was written to")
		}
	})

	t.Run("an old copy, and not the disk itself", func(t *testing.T) {
		m := s.boot(t, copied, s.disks[1], windows)
		m.awaitLUN(t, iqn)
		same(t, m)
		for range 3 {
			run(t, "qemu-io", "-f", "raw", "-r", "-c", "read -P 0x22 0 4M", m.url(iqn))
		}
		m.problem(t, "disk "+serialCopy, "says that it is disk "+serial1+" of pool", "isn't used")
		if st := m.status(t); len(st.Pools) != 1 || st.Pools[0].Health != status.Degraded || !slices.Contains(st.Pools[0].Missing, serial1) || slices.Contains(st.Pools[0].Disks, serialCopy) {
			t.Errorf("pools %+v", st.Pools)
		}
		m.powerDown(t)
		if digest(t, copied.Path) != asCopied {
			t.Error("the copy was written to")
		}
	})

	t.Run("two copies, and not the disk itself", func(t *testing.T) {
		other := qemu.Disk{Path: filepath.Join(s.dir, "other.img"), Serial: serialOther, Bus: qemu.SCSI}
		run(t, "cp", "--sparse=always", copied.Path, other.Path)
		m := s.boot(t, copied, s.disks[1], other, windows)
		m.problem(t, "copies of one another", serialCopy, serialOther)
		if err := m.tryLogin(t.Context(), iqn); err == nil {
			t.Error("a copy is served, and nobody knows which one")
		}
		m.powerDown(t)
		if digest(t, copied.Path) != asCopied || digest(t, other.Path) != asCopied {
			t.Error("a copy was written to")
		}
		if digest(t, windows.Path) != before {
			t.Error("the disk with Windows was written to")
		}
	})
}

// disk waits until the status says of a disk what it is used for.
func (m *machine) disk(t *testing.T, serial, use string) status.Disk {
	t.Helper()
	var last []status.Disk
	for end := time.Now().Add(bootTime); time.Now().Before(end); time.Sleep(time.Second) {
		last = m.status(t).Disks
		for _, d := range last {
			if d.Serial == serial && strings.Contains(d.Use, use) {
				return d
			}
		}
	}
	t.Fatalf("disk %s never was %q; disks %+v", serial, use, last)
	return status.Disk{}
}

// problem waits until the status has a problem with all words.
func (m *machine) problem(t *testing.T, words ...string) {
	t.Helper()
	var last []status.Problem
	for end := time.Now().Add(bootTime); time.Now().Before(end); time.Sleep(time.Second) {
		last = m.status(t).Problems
		for _, p := range last {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(p.What, w) }) {
				return
			}
		}
	}
	t.Fatalf("no problem tells of %q: %+v", words, last)
}

// windowsDisk makes a disk that is partitioned as Windows does it, with NTFS.
func windowsDisk(t *testing.T, dir string) string {
	t.Helper()
	path, fs := filepath.Join(dir, "windows.img"), filepath.Join(dir, "ntfs.img")
	run(t, "truncate", "-s", "300M", path)
	run(t, "sgdisk", "-n", "1:2048:+16M", "-t", "1:0c01", "-n", "2:0:0", "-t", "2:0700", "-c", "2:Basic data partition", path)
	match := firstSector.FindStringSubmatch(run(t, "sgdisk", "-i", "2", path))
	if match == nil {
		t.Fatal("sgdisk doesn't tell where the second partition begins")
	}
	run(t, "truncate", "-s", "280M", fs)
	run(t, "mkfs.ntfs", "-F", "-Q", "-q", "-L", "Windows", fs)
	run(t, "dd", "if="+fs, "of="+path, "bs=512", "seek="+match[1], "conv=notrunc,sparse", "status=none")
	return path
}

// digest is the SHA-256 of a disk's content.
func digest(t *testing.T, path string) [32]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(fmt.Errorf("cannot read %s: %w", path, err))
	}
	return [32]byte(h.Sum(nil))
}
