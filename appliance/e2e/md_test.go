//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"sanstick/imagebuild/qemu"
)

const mdTOML = `hostname = "attic"
[[pool]]
name   = "tank"
disks  = ["E2E-POOL"]
layout = "single"

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

// blankDisk makes one more disk.
func (s *site) blankDisk(t *testing.T, serial string) qemu.Disk {
	t.Helper()
	return s.disk(t, serial, 1<<30, qemu.Virtio)
}

// sums are what disks hold.
func sums(t *testing.T, disks ...qemu.Disk) string {
	t.Helper()
	var b strings.Builder
	for _, d := range disks {
		data, err := os.ReadFile(d.Path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %x\n", d.Serial, sha256.Sum256(data))
	}
	return b.String()
}

// TestArrayOfAnotherMachine makes an md array, loses power while it is in use,
// and then opens it for reading, whole and with a member missing: what was
// written to it comes into a volume, and not a byte of its members changes.
func TestArrayOfAnotherMachine(t *testing.T) {
	t.Parallel()
	real := realImage(t)
	s := newSite(t, "hostname = \"other\"\n")
	members := []qemu.Disk{s.blankDisk(t, "E2E-MD-1"), s.blankDisk(t, "E2E-MD-2")}
	m := s.boot(t, append(members, qemu.Disk{Path: real, Serial: "E2E-REAL"})...)
	m.shell(t, "mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --bitmap=internal --assume-clean --size=98304 /dev/vda /dev/vdb")
	m.shell(t, "dd if=/dev/vdc of=/dev/md0 bs=1048576; sync")
	found := regexp.MustCompile(`Array UUID : (\S+)`).FindStringSubmatch(m.shell(t, "mdadm --examine /dev/vda"))
	if found == nil {
		t.Fatal("there is no array")
	}
	uuid := found[1]
	m.Kill()
	before := sums(t, members...)

	s.configure(t, mdTOML)
	m = s.boot(t, append([]qemu.Disk{s.blankDisk(t, "E2E-POOL")}, members...)...)
	m.awaitLUN(t, iqn)
	m.awaitMember(t, uuid, "member 1 is disk E2E-MD-2")
	if out := m.shell(t, "cat /proc/mdstat"); strings.Contains(out, "md1") || strings.Contains(out, "md0") {
		t.Errorf("an array is assembled unasked:\n%s", out)
	}
	path := "/dev/md127"
	m.sanctl(t, "open read-only as "+path, "md open "+uuid)
	if out := m.shell(t, "cat /proc/mdstat"); !strings.Contains(out, "read-only") || strings.Contains(out, "resync =") { // it may be pending
		t.Errorf("the array isn't quiet:\n%s", out)
	}
	m.sanctl(t, "GPT partition table", "disks")
	m.shell(t, "dd if=/bin/sh of="+path+" bs=4096 count=1")
	m.sanctl(t, "busy", "disk wipe --yes E2E-MD-1")
	m.sanctl(t, "vm1", "volume import vm1 "+path)
	// Not byte by byte: the import has moved the backup of the GPT.
	m.sanctl(t, "are equal", "volume verify vm1 "+path)
	m.sanctl(t, "is closed", "md close "+uuid)
	m.sanctl(t, "isn't open", "md close "+uuid)
	if out := m.shell(t, "dmsetup ls; cat /proc/mdstat"); strings.Contains(out, "sanstick-md") || strings.Contains(out, "md127") {
		t.Errorf("something is left of the array:\n%s", out)
	}
	m.Kill()

	m = s.boot(t, members[0])
	m.awaitMember(t, uuid, "member 0 is disk E2E-MD-1")
	m.sanctl(t, "--degraded", "md open "+uuid)
	m.sanctl(t, "lacks 1 of its 2 members, open read-only", "md open --degraded "+uuid)
	m.Kill()
	if after := sums(t, members...); after != before {
		t.Errorf("the members held\n%sand hold\n%s", before, after)
	}
}

// awaitMember waits until a member of an array has been looked at: disks are,
// one after another.
func (m *machine) awaitMember(t *testing.T, uuid, words string) {
	t.Helper()
	for deadline := time.Now().Add(bootTime); ; {
		out := m.shell(t, "sanctl disks")
		if strings.Contains(out, uuid) && strings.Contains(out, words) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("sanctl disks says\n%s", out)
		}
	}
}
