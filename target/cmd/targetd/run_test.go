package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sanstick/target/iscsitest"
)

// What was written is in the file after the end, and the end is clean with an
// initiator still there.
func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddress(t)
	o, err := parseFlags([]string{"--listen", addr, "--lun", "0=" + path, "--iqn", "iqn.x:y"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx, o, slog.New(slog.DiscardHandler), nil) }()
	var c *iscsitest.Conn
	for range 100 {
		if c, err = iscsitest.Dial(ctx, addr); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Login(iscsitest.Names("iqn.x:me", "iqn.x:y")...); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 512)
	copy(data, "hello")
	for range 3 { // the first answer is a unit attention
		r, err := c.Do(iscsitest.Write10(1, data, 512))
		if err != nil {
			t.Fatal(err)
		}
		if r.Status == 0 {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	file, err := os.ReadFile(path)
	if err != nil || string(file[512:517]) != "hello" {
		t.Errorf("file has %q, %v", file[512:517], err)
	}
}

func TestRunFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, args := range map[string][]string{
		"no such disk":  {"--lun", "0=/nonexistent"},
		"address taken": {"--lun", "0=mem:1M", "--listen", l.Addr().String()},
		"bad name":      {"--lun", "0=mem:1M", "--iqn", "not a name"},
	} {
		o, err := parseFlags(args)
		if err != nil {
			t.Fatal(err)
		}
		if err := run(context.Background(), o, slog.New(slog.DiscardHandler), nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
