package box

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/appliance/sys/systest"
	"sanstick/appliance/update"
)

// plainVolume is a boot volume that is a directory.
type plainVolume string

func (v plainVolume) Use(_ context.Context, _ bool, f func(dir string) error) error {
	return f(string(v))
}

// booted is an appliance that finds itself booted like that, with this
// environment block and this record of updates.
func booted(t *testing.T, boot update.Boot, env string, r update.Record) *updates {
	t.Helper()
	v, _ := bootStick(t)
	dir := t.TempDir()
	block := "# GRUB Environment Block\n" + env
	path := filepath.Join(dir, update.EnvName)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(block+strings.Repeat("#", 512-len(block))), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	o := &Options{Log: slog.New(slog.DiscardHandler), Socket: filepath.Join(t.TempDir(), "api.sock"), Kexec: &systest.Kexec{}}
	ready := make(chan struct{})
	close(ready)
	u := &updates{box: &box{o: o, log: o.Log, storage: &storage{ready: ready}}, volume: v, boot: boot, restart: make(chan struct{}, 1)}
	u.manager = update.New(update.Options{
		Volume: plainVolume(dir), Boot: boot, Running: update.Release{Version: "v2"},
		Load: func() ([]byte, error) { return record, nil }, Save: func(b []byte) error { record = b; return nil },
	})
	return u
}

// outcome is what the appliance does within a moment.
func (u *updates) outcome(t *testing.T) (restarts, kept bool, problems []status.Problem) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := u.run(ctx); err != nil {
		t.Error(err)
	}
	_, err := os.Stat(filepath.Join(filepath.Dir(u.box.o.Socket), confirmedName))
	select {
	case <-u.restart:
		restarts = true
	default:
	}
	_, problems = u.status()
	return restarts, err == nil, problems
}

// A version that was given up is gone back from, though the appliance has
// started again before the machine did.
func TestGivenUp(t *testing.T) {
	u := booted(t, update.Boot{Slot: update.SlotB, Mode: update.Try, ID: "2"}, "active=a\nnext=b\nleft=0\n",
		update.Record{Phase: update.Trying, Slot: update.SlotB, Version: "v2", Starts: 1, Reason: "somebody has gone back"})
	if restarts, kept, _ := u.outcome(t); !restarts || kept {
		t.Errorf("restarts %v, kept %v", restarts, kept)
	}
}

// What a daemon that died has loaded isn't what the next restart goes into.
func TestNothingStaysLoaded(t *testing.T) {
	u := booted(t, update.Boot{Slot: update.SlotA, Mode: update.Normal, ID: "1"}, "active=a\n", update.Record{})
	k := &systest.Kexec{}
	if err := k.Load(nil, nil, "slot=b mode=try"); err != nil {
		t.Fatal(err)
	}
	u.box.o.Kexec = k
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	u.box.storage = &storage{ready: make(chan struct{})}
	if err := u.run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, loaded := k.Loaded(); loaded {
		t.Error("it is still loaded")
	}
}

// Process 1 hears that a version on trial is kept only if the stick says so.
func TestKeptIsSeen(t *testing.T) {
	tryB := update.Boot{Slot: update.SlotB, Mode: update.Try, ID: "2"}
	confirmed := update.Record{Phase: update.Confirmed, Slot: update.SlotB, Version: "v2"}
	for _, tt := range []struct {
		name     string
		env      string
		record   update.Record
		kept     bool
		problems int
	}{
		{"confirmed before the daemon started again", "active=b\n", confirmed, true, 0},
		{"confirmed, the record is lost", "active=b\n", update.Record{}, true, 0},
		{"no environment block", "what is this\n", update.Record{Phase: update.Armed, Slot: update.SlotB, Version: "v2"}, false, 1},
		{"another stick", "active=a\n", update.Record{}, false, 0},
		{"another update is armed", "active=b\nnext=a\nleft=1\n", update.Record{Phase: update.Armed, Slot: update.SlotA, Boot: "2"}, false, 0},
	} {
		restarts, kept, problems := booted(t, tryB, tt.env, tt.record).outcome(t)
		if restarts || kept != tt.kept || len(problems) != tt.problems {
			t.Errorf("%s: restarts %v, kept %v, problems %v", tt.name, restarts, kept, problems)
		}
	}
}

// Which slot runs instead of the active one is told, whatever update was the newest.
func TestPassedOver(t *testing.T) {
	backA := update.Boot{Slot: update.SlotA, Mode: update.Fallback, ID: "2"}
	confirmed := update.Record{Phase: update.Confirmed, Slot: update.SlotB, Version: "v2"}
	for _, tt := range []struct {
		name   string
		env    string
		record update.Record
		want   string // in the problems; empty: none
	}{
		{"not read", "active=b\nbad=b\n", confirmed, "slot a runs because slot b couldn't be loaded"},
		{"not there", "active=b\n", update.Record{}, "slot a runs because slot b couldn't be loaded"},
		{"a failed update was dismissed", "active=a\n", update.Record{}, ""},
	} {
		_, _, problems := booted(t, backA, tt.env, tt.record).outcome(t)
		if (len(problems) > 0) != (tt.want != "") || len(problems) > 0 && problems[0].What != tt.want {
			t.Errorf("%s: problems %v, want %q", tt.name, problems, tt.want)
		}
	}
}
