package main

import (
	"context"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sanstick/target/iscsitest"
)

// A reservation made with APTPL is there after a restart. One that is damaged
// keeps the target from starting, and the error says what to do.
func TestReservationOutlivesRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	const serial = "RESTART"
	serve := func(do func(r *rig)) {
		t.Helper()
		r := &rig{t: t, addr: freeAddress(t)}
		o, err := parseFlags([]string{"--listen", r.addr, "--lun", "0=mem:1MiB", "--iqn", "iqn.x:y", "--serial", serial, "--state", dir})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- run(ctx, o, slog.New(slog.DiscardHandler), nil) }()
		do(r)
		cancel()
		if err := <-done; err != nil {
			t.Fatalf("run: %v", err)
		}
	}
	out := func(action, kind, flags byte, key, newKey uint64) iscsitest.Command {
		list := binary.BigEndian.AppendUint64(nil, key)
		list = append(binary.BigEndian.AppendUint64(list, newKey), 0, 0, 0, 0, flags, 0, 0, 0)
		return iscsitest.Command{CDB: []byte{0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0}, Out: list}
	}
	good := func(r *rig, c *iscsitest.Conn, cmd iscsitest.Command) {
		t.Helper()
		if res := r.do(c, 0, cmd); res.Status != 0 {
			t.Fatalf("status %#x, sense %06x", res.Status, res.SenseCode())
		}
	}
	serve(func(r *rig) {
		c := r.session("iqn.x:a", "iqn.x:y", 0)
		good(r, c, out(0, 0, 1, 0, 0xa))
		good(r, c, out(1, 3, 0, 0xa, 0))
	})
	serve(func(r *rig) {
		b := r.session("iqn.x:b", "iqn.x:y", 0)
		if res := r.do(b, 0, iscsitest.Command{CDB: []byte{0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, In: 512}); res.Status != 0x18 {
			t.Errorf("read of another: status %#x, want a conflict", res.Status)
		}
		good(r, r.session("iqn.x:a", "iqn.x:y", 0), out(3, 0, 0, 0xa, 0))
		good(r, b, iscsitest.Command{CDB: []byte{0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, In: 512})
	})
	files, err := filepath.Glob(filepath.Join(dir, "*.reservations"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := parseFlags([]string{"--listen", freeAddress(t), "--lun", "0=mem:1MiB", "--iqn", "iqn.x:y", "--serial", serial, "--state", dir})
	if err != nil {
		t.Fatal(err)
	}
	err = run(context.Background(), o, slog.New(slog.DiscardHandler), nil)
	if err == nil || !strings.Contains(err.Error(), "delete "+files[0]) {
		t.Errorf("damaged state: %v", err)
	}
}
