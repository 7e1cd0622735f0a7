package statefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var naa = [16]byte{0x60, 1, 2, 3}

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func load(t *testing.T, f *File) []byte {
	t.Helper()
	b, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, path)
	f, other := d.Reservations(naa), d.Reservations([16]byte{0x61})
	if b := load(t, f); b != nil {
		t.Errorf("%x before there was anything", b)
	}
	for _, want := range []string{"one", "", "another"} {
		if err := f.Save([]byte(want)); err != nil {
			t.Fatal(err)
		}
		if b := load(t, d.Reservations(naa)); b == nil || string(b) != want {
			t.Errorf("%q, want %q", b, want)
		}
	}
	if b := load(t, other); b != nil {
		t.Errorf("another unit has %q", b)
	}
	st, err := os.Stat(f.String())
	if err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", st.Mode(), err)
	}
	if _, err := Open(path); err == nil {
		t.Error("two use the directory")
	}
	if _, err := Open(filepath.Join(path, "no", "such")); err == nil {
		t.Error("a directory in none")
	}
	if err := os.WriteFile(f.String(), make([]byte, maxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); err == nil {
		t.Error("a file of any length is read")
	}
}

// A crash between two steps leaves the old or the new state, and the next
// start cleans up.
func TestCrashBetweenSteps(t *testing.T) {
	crash := errors.New("crash")
	for _, old := range []string{"", "old"} {
		for n := range 5 {
			path := t.TempDir()
			d := open(t, path)
			f := d.Reservations(naa)
			if old != "" {
				if err := f.Save([]byte(old)); err != nil {
					t.Fatal(err)
				}
			}
			steps := 0
			f.step = func() error {
				if steps++; steps > n {
					return crash
				}
				return nil
			}
			if err := f.Save([]byte("new state")); !errors.Is(err, crash) {
				t.Fatalf("step %d: %v", n, err)
			}
			d.Close()
			d = open(t, path)
			got, want := string(load(t, d.Reservations(naa))), old
			if n == 4 {
				want = "new state"
			}
			if got != want {
				t.Errorf("crash after step %d: %q, want %q", n, got, want)
			}
			left, err := filepath.Glob(filepath.Join(path, ".*"))
			if err != nil || len(left) != 0 {
				t.Errorf("crash after step %d leaves %v, %v", n, left, err)
			}
		}
	}
}

// A process that is killed while it writes leaves a state that it has written,
// and none older than the last that it said was safe.
func TestKill(t *testing.T) {
	if dir := os.Getenv("STATEFILE_TEST_DIR"); dir != "" {
		f := open(t, dir).Reservations(naa)
		for i := uint64(1); ; i++ {
			if err := f.Save(bytes.Repeat(binary.BigEndian.AppendUint64(nil, i), 1000)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(os.Stderr, "%016x", i)
		}
	}
	dir := t.TempDir()
	for range 20 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "STATEFILE_TEST_DIR="+dir)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		var safe uint64
		if n := said.Len() / 16 * 16; n > 0 {
			if _, err := fmt.Sscanf(said.String()[n-16:n], "%x", &safe); err != nil {
				t.Fatal(err)
			}
		}
		d, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		b := load(t, d.Reservations(naa))
		d.Close()
		if b == nil && safe == 0 {
			continue
		}
		if len(b) != 8000 || !bytes.Equal(b, bytes.Repeat(b[:8], 1000)) || binary.BigEndian.Uint64(b) < safe {
			t.Fatalf("%d bytes, %x, want all %x or later", len(b), b[:8], safe)
		}
	}
}
