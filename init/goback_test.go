package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A version on trial whose process 1 fails doesn't wait for a person.
func TestGoBack(t *testing.T) {
	for _, tt := range []struct {
		name      string
		cmdline   string // empty: can't be read
		confirmed bool
		somebody  bool
		restarts  int
		said      string
	}{
		{"on trial", "quiet slot=b mode=try\n", false, false, 1, "is on trial"},
		{"nobody knows", "", false, false, 1, "may be on trial"},
		{"somebody is there", "mode=try", false, true, 0, "is on trial"},
		{"kept", "mode=try", true, false, 0, ""},
		{"no trial", "slot=b mode=normal", false, false, 0, ""},
	} {
		dir := t.TempDir()
		var out bytes.Buffer
		restarts := 0
		g := goBack{
			cmdline: filepath.Join(dir, "cmdline"), confirmed: filepath.Join(dir, "confirmed"), out: &out,
			asked:   func(limit time.Duration) bool { return limit == goBackPause && tt.somebody },
			restart: func() error { restarts++; return errors.New("the machine doesn't restart") },
		}
		if tt.cmdline != "" {
			write(t, g.cmdline, tt.cmdline)
		}
		if tt.confirmed {
			write(t, g.confirmed, "")
		}
		err := g.unless(errors.New("panic: oops"))
		if restarts != tt.restarts || (err != nil) != (tt.restarts > 0) || !strings.Contains(out.String(), tt.said) || tt.said == "" && out.Len() > 0 {
			t.Errorf("%s: %d restarts, error %v, said %q", tt.name, restarts, err, out.String())
		}
	}
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Only input counts as somebody, and the wait has an end.
func TestAskedAt(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "console")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	const limit = 300 * time.Millisecond
	quiet := func(name, path string) {
		t.Helper()
		if began := time.Now(); askedAt(path, limit) || time.Since(began) < limit {
			t.Errorf("%s: somebody after %v", name, time.Since(began))
		}
	}
	quiet("no console", filepath.Join(dir, "none"))
	quiet("nobody", fifo)

	// Opened for both, so that neither side waits for the other.
	line, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	quiet("a console without input", fifo)
	if _, err := line.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	if !askedAt(fifo, time.Minute) {
		t.Error("Enter isn't noticed")
	}

	// A line that has hung up: every poll answers at once.
	hung := filepath.Join(dir, "hung")
	write(t, hung, "")
	quiet("hung up", hung)
}
