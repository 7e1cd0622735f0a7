//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
	"sanstick/imagebuild/stick"
)

// TestSecureBoot starts a PC that runs only what is signed, from a stick four times larger than the image, up to a LUN on
// a mirror: all modules of the disks are accepted. The stick's partitions are put right meanwhile.
func TestSecureBoot(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodTOML)
	s.firmware = qemu.SecureBoot
	s.enlarge(t)
	m := s.boot(t, s.disks...)
	m.awaitLUN(t, iqn)
	m.booted(t, qemu.SecureBoot)
	m.powerDown(t)
	s.verifyFitted(t, goodTOML)
}

// TestBootMedia starts the stick by each firmware and on each bus that it may be on.
func TestBootMedia(t *testing.T) {
	t.Parallel()
	const toml = "hostname = \"attic\"\n"
	for _, firmware := range []qemu.Firmware{qemu.BIOS, qemu.UEFI, qemu.SecureBoot} {
		for _, bus := range []qemu.Bus{qemu.USB, qemu.Virtio} {
			t.Run(fmt.Sprintf("%s %s", firmware, bus), func(t *testing.T) {
				s := newSite(t, toml)
				s.firmware, s.bus = firmware, bus
				s.enlarge(t)
				for range 2 { // with the image's layout, and with the one that the first start has made of it
					m := s.boot(t)
					m.booted(t, firmware)
					m.powerDown(t)
					s.verifyFitted(t, toml)
				}
			})
		}
	}
}

// TestISO starts the ISO image as a CD and as a stick, by each firmware. From the CD alone the defaults are in force; with a
// stick beside it, that stick's configuration. On a stick it has a configuration of its own.
func TestISO(t *testing.T) {
	t.Parallel()
	for _, firmware := range []qemu.Firmware{qemu.BIOS, qemu.UEFI, qemu.SecureBoot} {
		t.Run(string(firmware)+" CD", func(t *testing.T) {
			s := &site{dir: t.TempDir(), cd: isoImage, firmware: firmware}
			m := s.boot(t)
			st := m.status(t)
			if st.Health != status.OK || st.Config.InForce != "defaults" || !st.Stick.Memory || !strings.Contains(fmt.Sprint(st.Config.Warnings), "started from a CD") {
				t.Errorf("health %s, problems %+v, configuration %+v", st.Health, st.Problems, st.Config)
			}
		})
		t.Run(string(firmware)+" CD, configuration on a disk", func(t *testing.T) {
			s := newSite(t, "hostname = \"attic\"\n")
			config := qemu.Disk{Path: s.stick, Serial: "CONFIG", Bus: qemu.USB}
			s.stick, s.cd, s.firmware = "", isoImage, firmware
			m := s.boot(t, config)
			m.booted(t, firmware)
		})
		t.Run(string(firmware)+" stick", func(t *testing.T) {
			s := &site{dir: t.TempDir(), firmware: firmware}
			s.stick = filepath.Join(s.dir, "stick.img")
			run(t, "cp", "--sparse=always", isoImage, s.stick)
			s.enlarge(t)
			m := s.boot(t)
			st := m.status(t)
			if st.Health != status.OK || st.Config.InForce != "file" {
				t.Errorf("health %s, problems %+v, configuration %+v", st.Health, st.Problems, st.Config)
			}
			m.powerDown(t)
			if out := run(t, "sgdisk", "-v", s.stick); !strings.Contains(out, "No problems found") {
				t.Errorf("sgdisk -v:\n%s", out)
			}
		})
	}
}

// TestISODisks starts the ISO image as a CD beside the disks of an appliance whose stick isn't there: they keep its
// configuration, and what is changed.
func TestISODisks(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodTOML)
	m := s.boot(t, s.disks...)
	m.awaitLUN(t, iqn)
	before := m.identity(t)
	run(t, "qemu-io", "-f", "raw", "-c", "write -P 0x5a 0 8M", "-c", "flush", m.url(iqn))
	kept := func(x status.Snapshot) bool { return slices.Equal(x.Stick.Copies, []string{serial1, serial2}) }
	m.awaitStatus(t, "both disks keep a copy of the stick", kept)
	m.powerDown(t)

	s.stick, s.cd = "", isoImage
	m = s.boot(t, s.disks[0])
	m.awaitStatus(t, "what is kept isn't adopted while a disk is missing", func(x status.Snapshot) bool {
		return problem(x, "one is kept") && x.Stick.Memory && len(x.Pools) == 0
	})
	m.Kill()
	m = s.boot(t, s.disks...)
	m.awaitLUN(t, iqn)
	if now := m.identity(t); now != before {
		t.Errorf("identity was %+v and is %+v", before, now)
	}
	run(t, "qemu-io", "-f", "raw", "-c", "read -P 0x5a 0 8M", m.url(iqn))
	if said := m.apply(t, strings.Replace(goodTOML, `"256MiB"`, `"384MiB"`, 1)); !strings.Contains(said, "volume vm1: size 256MiB -> 384MiB") {
		t.Errorf("sanctl config apply says\n%s", said)
	}
	m.awaitStatus(t, "both disks keep what is new", func(x status.Snapshot) bool { return kept(x) && x.Health == status.OK })
	m.Kill()
	m = s.boot(t, s.disks...)
	m.awaitLUN(t, iqn)
	if out := run(t, "iscsi-readcapacity16", m.url(iqn)); !strings.Contains(out, "402653184") {
		t.Errorf("the newest configuration isn't in force: %s", out)
	}
	m.powerDown(t)
}

// booted checks that the machine is healthy, and what it was started by.
func (m *machine) booted(t *testing.T, firmware qemu.Firmware) {
	t.Helper()
	st := m.status(t)
	if st.Hostname != "attic" || st.Health != status.OK || len(st.Problems) > 0 {
		t.Errorf("host name %q, health %s, problems %+v", st.Hostname, st.Health, st.Problems)
	}
	out := m.shell(t, "cat /proc/cmdline; ls /sys/firmware; dmesg")
	if !strings.Contains(out, "slot=a mode=normal") {
		t.Errorf("the kernel's command line names no slot:\n%s", out[:min(len(out), 400)])
	}
	if efi := regexp.MustCompile(`(?m)^efi$`).MatchString(out); efi != (firmware != qemu.BIOS) {
		t.Errorf("%s: started by UEFI: %v", firmware, efi)
	}
	if secure := strings.Contains(out, "Secure boot enabled"); secure != (firmware == qemu.SecureBoot) {
		t.Errorf("%s: Secure Boot: %v", firmware, secure)
	}
}

// enlarge makes the stick four times as large as the image.
func (s *site) enlarge(t *testing.T) {
	t.Helper()
	fi, err := os.Stat(s.stick)
	if err != nil {
		t.Fatal(err)
	}
	if err := stick.Grow(s.stick, 4*fi.Size()); err != nil {
		t.Fatal(err)
	}
}

var extent = regexp.MustCompile(`(?s)First sector: (\d+).*Partition size: (\d+) sectors`)

// verifyFitted has foreign programs look at a stick that was started: the partition table reaches to its end, the boot
// partition has room for two systems, and the configuration is as it was.
func (s *site) verifyFitted(t *testing.T, toml string) {
	t.Helper()
	if out := run(t, "sgdisk", "-v", s.stick); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	for _, part := range []int{2, 3} {
		volume := filepath.Join(s.dir, "volume")
		size := extract(t, s.stick, part, volume)
		if part == 2 && size < 120<<20 {
			t.Errorf("the boot partition has %d MiB", size>>20)
		}
		if out := strings.TrimSpace(run(t, "fsck.fat", "-n", volume)); strings.Count(out, "\n") != 1 {
			t.Errorf("fsck.fat of partition %d complains:\n%s", part, out)
		}
		if part == 3 {
			if got := run(t, "mtype", "-i", volume, "::appliance.toml"); got != toml {
				t.Errorf("appliance.toml is %q", got)
			}
		}
	}
}

// extract copies a partition of an image into a file of its own, and returns how many bytes it has.
func extract(t *testing.T, image string, part int, to string) int64 {
	t.Helper()
	match := extent.FindStringSubmatch(run(t, "sgdisk", "-i", strconv.Itoa(part), image))
	if match == nil {
		t.Fatalf("sgdisk doesn't know partition %d of %s", part, image)
	}
	run(t, "dd", "status=none", "bs=512", "if="+image, "of="+to, "skip="+match[1], "count="+match[2])
	sectors, err := strconv.ParseInt(match[2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return sectors * 512
}
