package stick

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sanstick/appliance/bootdisk"
	"sanstick/appliance/image/gpt"
)

// memory is a disk in memory that keeps what was written since the beginning, and where it was flushed.
type memory struct {
	data   []byte
	writes []write
	epoch  int
}

type write struct {
	at    int64
	data  []byte
	epoch int
}

func (m *memory) ReadAt(p []byte, at int64) (int, error) {
	if n := copy(p, m.data[at:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

func (m *memory) WriteAt(p []byte, at int64) (int, error) {
	m.writes = append(m.writes, write{at, bytes.Clone(p), m.epoch})
	return copy(m.data[at:], p), nil
}

func (m *memory) Size() int64 { return int64(len(m.data)) }
func (m *memory) Sync() error { m.epoch++; return nil }

func noKernel(gpt.Partition) error { return nil }

// larger returns the image as it is on a stick of that size.
func larger(t *testing.T, size int64) []byte {
	t.Helper()
	data, err := os.ReadFile(create(t, "x = 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	return append(data, make([]byte, size-int64(len(data)))...)
}

var partitionSize = regexp.MustCompile(`Partition size: (\d+) sectors`)

// A stick that is larger gets all of its boot partition, and nothing on it is lost.
func TestFit(t *testing.T) {
	full := fatDataEnd(minRoom) / mib * mib
	for _, tt := range []struct {
		name        string
		stick, boot int64
	}{
		{"four times larger", 4 * (bootStart + 34*mib), full},
		{"half of the room", 100 * mib, 100*mib - bootStart - mib},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &memory{data: larger(t, tt.stick)}
			told := int64(0)
			r, err := bootdisk.Fit(m, func(p gpt.Partition) error { told = p.Size; return nil })
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Said) != 2 || told != tt.boot {
				t.Errorf("said %q, told the kernel %d bytes, want %d", r.Said, told, tt.boot)
			}
			verifyStick(t, m.data, tt.boot)
			m.writes = nil
			if r, err = bootdisk.Fit(m, noKernel); err != nil || len(r.Said) > 0 || r.Grew != nil || len(m.writes) > 0 {
				t.Errorf("the second time: %+v, %v, %d writes; want nothing to do", r, err, len(m.writes))
			}
		})
	}
}

// An image on a disk of its own size is left alone.
func TestFitNothing(t *testing.T) {
	data, err := os.ReadFile(create(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{data: data}
	if r, err := bootdisk.Fit(m, noKernel); err != nil || len(r.Said) > 0 || len(m.writes) > 0 {
		t.Errorf("%+v, %v, %d writes; want nothing to do", r, err, len(m.writes))
	}
}

// The power may fail at each write, and of those that weren't flushed any one may be lost, or be there alone: the next
// start does the rest, and until then one copy of the partition table is valid.
func TestFitPowerCut(t *testing.T) {
	const size = 90 * mib
	before := larger(t, size)
	whole := &memory{data: bytes.Clone(before)}
	if _, err := bootdisk.Fit(whole, noKernel); err != nil {
		t.Fatal(err)
	}
	if len(whole.writes) < 8 {
		t.Fatalf("only %d writes: the test no longer sees them", len(whole.writes))
	}
	data := bytes.Clone(before)
	for cut := range whole.writes {
		for _, torn := range []int{0, sector, 16 * sector} { // how much of the last one arrived
			var undo []write
			apply := func(at int64, p []byte) {
				undo = append(undo, write{at: at, data: bytes.Clone(data[at : at+int64(len(p))])})
				copy(data[at:], p)
			}
			for i, w := range whole.writes[:cut+1] {
				if i < cut {
					apply(w.at, w.data)
				} else {
					apply(w.at, w.data[:min(torn, len(w.data))])
				}
			}
			m := &memory{data: data}
			if _, err := bootdisk.Fit(m, noKernel); err != nil {
				t.Fatalf("cut in write %d after %d bytes: %v", cut, torn, err)
			}
			if !bytes.Equal(data, whole.data) {
				t.Errorf("cut in write %d after %d bytes: the stick isn't the same in the end", cut, torn)
			}
			for _, w := range m.writes { // back to the beginning, in place: the image is large
				copy(data[w.at:], before[w.at:w.at+int64(len(w.data))])
			}
			for i := len(undo) - 1; i >= 0; i-- {
				copy(data[undo[i].at:], undo[i].data)
			}
		}
	}
}

// verifyStick has foreign programs look at a stick whose boot partition is to have boot bytes.
func verifyStick(t *testing.T, data []byte, boot int64) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "fitted.img")
	if err := os.WriteFile(image, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if out := tool(t, "sgdisk", "-v", image); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	m := partitionSize.FindStringSubmatch(tool(t, "sgdisk", "-i", fmt.Sprint(bootPart), image))
	if m == nil || m[1] != strconv.FormatInt(boot/sector, 10) {
		t.Errorf("the boot partition has %v sectors, want %d", m, boot/sector)
	}
	for _, index := range []int{bootPart, configPart} {
		if out := strings.TrimSpace(tool(t, "fsck.fat", "-n", volumeFile(t, image, index))); strings.Count(out, "\n") != 1 {
			t.Errorf("fsck.fat of partition %d complains:\n%s", index, out)
		}
	}
	v := volumeFile(t, image, bootPart)
	for _, f := range testContents("").Boot {
		if got := tool(t, "mtype", "-i", v, "::/"+f.Name); got != string(f.Data) {
			t.Errorf("%s has %d bytes of other content", f.Name, len(got))
		}
	}
	// The new room can be used.
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, bytes.Repeat([]byte("b"), int(boot-8*mib)), 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, "mcopy", "-i", v, big, "::/big")
	if out := strings.TrimSpace(tool(t, "fsck.fat", "-n", v)); strings.Count(out, "\n") != 1 {
		t.Errorf("fsck.fat of the filled volume complains:\n%s", out)
	}
	if got := config(t, image); got != "x = 1\n" {
		t.Errorf("appliance.toml is %q", got)
	}
}

// fatDataEnd is where the tables of a volume of that size let its clusters end.
func fatDataEnd(size int64) int64 {
	fat := fatSectors(size)
	return (fatReserved + 2*fat + fat*sector/4 - 2) * sector
}
