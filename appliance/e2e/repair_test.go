//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
)

// thinMagic is in the superblock of a thin pool's metadata (dm-thin-metadata.c
// in the kernel).
const thinMagic = 27022010

// spoilt is a block of metadata that damage has spoilt.
var spoilt = bytes.Repeat([]byte{0xa7}, 4096)

// damage spoils the space map of a thin pool's metadata on a disk, of which all
// can be found again from the rest.
func damage(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const block = 4096
	buf := make([]byte, 1<<20)
	found := 0
	for at := int64(0); at < diskSize; at += int64(len(buf)) {
		if _, err := f.ReadAt(buf, at); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(buf); i += block {
			super := buf[i : i+block]
			if binary.LittleEndian.Uint64(super[32:]) != thinMagic || binary.LittleEndian.Uint64(super[8:]) != 0 {
				continue
			}
			found++
			root := int64(binary.LittleEndian.Uint64(super[192+16:])) // bitmap_root of metadata_space_map_root
			if _, err := f.WriteAt(spoilt, at+int64(i)+root*block); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found == 0 {
		t.Fatalf("%s holds no thin pool", path)
	}
}

// TestDamagedMetadata spoils the metadata of a pool on both of its disks.
func TestDamagedMetadata(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodTOML)
	m := s.boot(t, s.disks...)
	m.awaitLUN(t, iqn)
	first := m.identity(t)
	run(t, "qemu-io", "-f", "raw", "-c", "write -P 0xc3 8M 32M", "-c", "flush", m.url(iqn))
	m.powerDown(t)
	for _, d := range s.disks {
		damage(t, d.Path)
	}
	m = s.boot(t, s.disks...)
	m.says(t, "sanctl pool repair tank")
	if err := m.tryLogin(t.Context(), iqn); err == nil {
		t.Error("a pool with damaged metadata is served")
	}
	st := m.status(t)
	if len(st.Pools) != 1 || st.Pools[0].Health != status.Failed || !slices.ContainsFunc(st.Problems, func(p status.Problem) bool {
		return p.Health == status.Failed && strings.Contains(p.What, "pool tank") && strings.Contains(p.Do, "sanctl pool repair tank")
	}) {
		t.Errorf("pools %+v, problems %+v", st.Pools, st.Problems)
	}
	if said := m.shell(t, "sanctl pool repair tank --yes"); !strings.Contains(said, "kept as tank/thinpool_meta0") {
		t.Fatalf("sanctl pool repair says\n%s", said)
	}
	m.awaitLUN(t, iqn)
	if again := m.identity(t); again != first {
		t.Errorf("the LUN changed its identity from\n%+v\nto\n%+v", first, again)
	}
	run(t, "qemu-io", "-f", "raw", "-r", "-c", "read -P 0xc3 8M 32M", m.url(iqn))
	// The new metadata has a copy on each disk again.
	const both = "thinpool_tmeta_rimage_1"
	said := m.shell(t, "lvm lvs -a -o lv_name tank")
	for end := time.Now().Add(time.Minute); !strings.Contains(said, both) && time.Now().Before(end); said = m.shell(t, "lvm lvs -a -o lv_name tank") {
		time.Sleep(time.Second)
	}
	if !strings.Contains(said, both) {
		t.Errorf("the repaired metadata isn't mirrored:\n%s", said)
	}
	if said := m.shell(t, "sanctl pool repair tank --yes"); !strings.Contains(said, "is active") {
		t.Errorf("a pool in use: %s", said)
	}
	for end := time.Now().Add(time.Minute); st.Health != status.OK && time.Now().Before(end); time.Sleep(time.Second) {
		st = m.status(t)
	}
	if len(st.Pools) != 1 || st.Pools[0].State != "healthy" || st.Health != status.OK {
		t.Errorf("afterwards pools %+v, problems %+v", st.Pools, st.Problems)
	}
	// What was damaged is kept as it was.
	if said := m.shell(t, "lvm lvs -o lv_name tank"); !strings.Contains(said, "thinpool_meta0") {
		t.Errorf("what was damaged isn't kept:\n%s", said)
	}
	m.powerDown(t)
	for _, d := range s.disks {
		b, err := os.ReadFile(d.Path)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(slices.Collect(slices.Chunk(b, len(spoilt))), func(block []byte) bool { return bytes.Equal(block, spoilt) }) {
			t.Errorf("what was damaged is not on disk %s any more", d.Serial)
		}
	}
}
