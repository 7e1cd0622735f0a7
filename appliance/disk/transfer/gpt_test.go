package transfer

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const mib = 1 << 20

func sgdisk(t *testing.T, file string, args ...string) string {
	t.Helper()
	out, err := exec.Command("sgdisk", append(args, file)...).CombinedOutput()
	if err != nil {
		t.Fatalf("sgdisk %s: %v (Debian package gdisk)\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// gptDisk is a disk of size bytes with two partitions, made by sgdisk.
func gptDisk(t *testing.T, size int64) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	sgdisk(t, file, "-n", "1:2048:+1M", "-c", "1:one", "-n", "2:0:0", "-t", "2:8300")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// verified is what sgdisk says of a disk.
func verified(t *testing.T, b []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return sgdisk(t, file, "-v")
}

func TestFixGPT(t *testing.T) {
	old := gptDisk(t, 9*mib)
	for _, grow := range []int64{mib, 8192, 4096, 40 * mib} {
		d := newDevice(t, 9*mib+grow, 0)
		d.load(old)
		said, err := FixGPT(d)
		if grow < 1*mib && said == "" || err != nil {
			t.Errorf("grown by %d: %q, error %v", grow, said, err)
		}
		if v := verified(t, d.durable); !strings.Contains(v, "No problems found") || strings.Contains(v, "Warning") {
			t.Errorf("grown by %d: %s", grow, v)
		}
		if !bytes.Equal(old[4096*5:9*mib-33*512], d.durable[4096*5:9*mib-33*512]) {
			t.Errorf("grown by %d: something else was changed", grow)
		}
		before := d.writes
		if said, err := FixGPT(d); said != "" || err != nil || d.writes != before {
			t.Errorf("grown by %d, again: %q, error %v, %d writes", grow, said, err, d.writes-before)
		}
		mbr := d.durable[446+12:]
		if n := int64(mbr[0]) | int64(mbr[1])<<8 | int64(mbr[2])<<16 | int64(mbr[3])<<24; n != d.Size()/512-1 {
			t.Errorf("grown by %d: the MBR covers %d blocks", grow, n)
		}
	}
}

// TestFixGPTPowerCuts cuts power at each write: one copy must be valid then,
// and the next run must put everything right.
func TestFixGPTPowerCuts(t *testing.T) {
	old := gptDisk(t, 9*mib)
	for _, grow := range []int64{8192, 4 * mib} {
		for cut := range 3 {
			d := newDevice(t, 9*mib+grow, 0)
			d.load(old)
			d.left = cut
			if _, err := FixGPT(d); err == nil {
				t.Fatalf("cut %d: no error", cut)
			}
			d.left = -1 // everything that was written is there, as if it had been flushed
			if _, err := FixGPT(d); err != nil {
				t.Fatalf("cut %d: error %v", cut, err)
			}
			if v := verified(t, d.durable); !strings.Contains(v, "No problems found") {
				t.Errorf("cut %d: %s", cut, v)
			}
		}
	}
}

func TestFixGPTLeaves(t *testing.T) {
	old := gptDisk(t, 9*mib)
	for name, damage := range map[string]func(b []byte){
		"no table":        func(b []byte) { clear(b[:40*512]) },
		"header":          func(b []byte) { b[512+60] ^= 1 },
		"entries":         func(b []byte) { b[1024+130] ^= 1 },
		"backup":          func(b []byte) { b[9*mib-512+30] ^= 1 },
		"backup entries":  func(b []byte) { b[9*mib-33*512+3] ^= 1 },
		"no backup":       func(b []byte) { clear(b[9*mib-33*512:]) },
		"length":          func(b []byte) { b[512+15] = 0xff },
		"many entries":    func(b []byte) { b[512+83] = 0xff },
		"entries outside": func(b []byte) { b[512+79] = 0x7f },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, 12*mib, 0)
			d.load(old)
			damage(d.b)
			before := bytes.Clone(d.b)
			said, err := FixGPT(d)
			if err != nil || d.writes != 0 || !bytes.Equal(before, d.b) {
				t.Errorf("error %v, %d writes", err, d.writes)
			}
			if (said == "") != (name == "no table") {
				t.Errorf("said %q", said)
			}
		})
	}
}

// FuzzFixGPT wants no panic, whatever the table.
func FuzzFixGPT(f *testing.F) {
	f.Add([]byte("EFI PART"), int64(512))
	f.Fuzz(func(t *testing.T, b []byte, at int64) {
		d := newDevice(t, mib, 0)
		if at < 0 || at > mib-int64(len(b)) {
			return
		}
		copy(d.b[at:], b)
		_, _ = FixGPT(d)
	})
}
