package sys

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKexecLoaded(t *testing.T) {
	for text, want := range map[string]bool{"1\n": true, "0\n": false, "": false, "none": false} {
		dir := t.TempDir()
		if text != "none" {
			writeIn(t, dir, "kernel/kexec_loaded", text)
		}
		if got := KexecLoaded(dir); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestKexecMemory: a machine without the memory for it isn't brought into need. What
// the kernel says of files that are no kernel is passed on.
func TestKexecMemory(t *testing.T) {
	dir := t.TempDir()
	writeIn(t, dir, "kernel", "no kernel")
	f, err := os.Open(filepath.Join(dir, "kernel"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for text, want := range map[string]string{
		"MemTotal: 500000 kB\nMemAvailable:   50000 kB\n": "takes 64 MiB of memory, and 48 MiB are free",
		"MemTotal: 500000 kB\nMemAvailable: 500000 kB\n":  "cannot load a kernel: ",
		"MemTotal: 500000 kB\n":                           "cannot load a kernel: ",
	} {
		writeIn(t, dir, "meminfo", text)
		if err := (KernelKexec{Procfs: dir}).Load(f, f, "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

func writeIn(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
