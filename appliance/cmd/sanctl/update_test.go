package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sanstick/appliance/api"
	"sanstick/appliance/status"
)

func TestUpdateText(t *testing.T) {
	s := status.Snapshot{Version: "v1"}
	golden(t, "update-none", updateText(s))
	s.System = status.System{Slot: "b", Mode: "normal"}
	golden(t, "update-first", updateText(s))
	s.System = status.System{Slot: "a", Mode: "fallback", Other: "v2", Update: &status.Update{Phase: "fell-back", Slot: "b", Version: "v2", From: "v1",
		Reason: "target vm1 isn't served: \x1b[2J", Began: now}}
	golden(t, "update-failed", updateText(s))
}

func TestUpdate(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	var got []string
	answer := func(q api.UpdateRequest, what string) (api.UpdateAnswer, error) {
		got = append(got, what)
		if q.AllowOlder {
			return api.UpdateAnswer{}, &api.Error{Message: "the update isn't signed", Do: "sign it"}
		}
		return api.UpdateAnswer{Version: "v2", Slot: "b", Restarting: !q.Later}, nil
	}
	srv := api.New(api.Options{Socket: socket, Status: func(context.Context) (status.Snapshot, error) { return healthy(), nil }, Actions: []api.Action{
		api.Update.Handle(func(_ context.Context, q api.UpdateRequest, body io.Reader, _ func(api.Progress)) (api.UpdateAnswer, error) {
			b, err := io.ReadAll(body)
			if err != nil {
				return api.UpdateAnswer{}, err
			}
			return answer(q, string(b))
		}),
		api.UpdateURL.Handle(func(_ context.Context, q api.UpdateRequest, _ func(api.Progress)) (api.UpdateAnswer, error) {
			return answer(q, q.URL)
		}),
		api.RollbackUpdate.Handle(func(_ context.Context, q api.UpdateRequest, _ func(api.Progress)) (api.UpdateAnswer, error) {
			return answer(q, "back")
		}),
		api.DismissUpdate.Handle(func(_ context.Context, q api.UpdateRequest, _ func(api.Progress)) (api.UpdateAnswer, error) {
			return api.UpdateAnswer{}, errors.New("there is none")
		}),
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	<-srv.Ready()
	file := filepath.Join(t.TempDir(), "x.update")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args           []string
		stdin          string
		code           int
		stdout, stderr string
	}{
		{[]string{"update", file}, "", 0, "version v2 is in slot b; the machine restarts", ""},
		{[]string{"update", "-", "--later"}, "from a pipe", 0, "version v2 is in slot b; the next start tries it", ""},
		{[]string{"update", "http://10.0.0.2/x.update"}, "", 0, "version v2 is in slot b", ""},
		{[]string{"update", "rollback"}, "", 0, "version v2 is in slot b", ""},
		{[]string{"update", "status"}, "", 0, "This machine wasn't booted from a stick with two slots", ""},
		{[]string{"update", "--allow-older", file}, "", 1, "", "sanctl update: the update isn't signed; sign it"},
		{[]string{"update", "dismiss"}, "", 1, "", "sanctl update dismiss: there is none"},
		{[]string{"update", file + ".not"}, "", 1, "", "sanctl update: cannot read the update"},
		{[]string{"update"}, "", 2, "", "sanctl update: needs FILE|URL|-"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append(tt.args, "--socket", socket), strings.NewReader(tt.stdin), &stdout, &stderr)
		if code != tt.code || !strings.HasPrefix(stdout.String(), tt.stdout) || !strings.HasPrefix(stderr.String(), tt.stderr) {
			t.Errorf("sanctl %q: code %d\nstdout: %s\nstderr: %s", tt.args, code, &stdout, &stderr)
		}
	}
	if want := "from a file, from a pipe, http://10.0.0.2/x.update, back, from a file"; strings.Join(got, ", ") != want {
		t.Errorf("the daemon got %q, want %s", got, want)
	}
}
