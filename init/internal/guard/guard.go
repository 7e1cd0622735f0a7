// Package guard keeps PID 1 alive: a panic in any goroutine would end the
// process and with it the machine, so every goroutine of init runs under it.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"sanstick/appliance/task"
)

// Call runs f and turns a panic into an error that holds the stack.
func Call(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// Keep runs t again and again until ctx is done: when t fails, panics or ends
// by itself, that is logged and t starts again after a pause, which grows
// from pause to 64 times of it. t.Run must bear being called again.
func Keep(ctx context.Context, log *slog.Logger, t task.Task, pause time.Duration) {
	longest := 64 * pause
	for {
		err := Call(func() error { return t.Run(ctx) })
		if ctx.Err() != nil {
			return
		}
		log.Error("A part of init ended, starting it again", "part", t.String(), "err", err, "after", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longest)
	}
}
