package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"sanstick/appliance/task"
)

// Stopping a group ends its parts, and isn't held up by one that hangs.
func TestGroup(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	good := newGroup(t.Context(), log)
	good.keep(task.Func("good", func(ctx context.Context) error { <-ctx.Done(); return nil }))
	if !good.stop(10 * time.Second) {
		t.Error("a good part didn't end")
	}

	free := make(chan struct{})
	bad := newGroup(t.Context(), log)
	bad.keep(task.Func("bad", func(context.Context) error { <-free; return nil }))
	if bad.stop(10 * time.Millisecond) {
		t.Error("a part that hangs counts as ended")
	}
	close(free)
	bad.wg.Wait()
}
