package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sanstick/init/internal/guard"
)

type flaky struct {
	runs   int
	cancel context.CancelFunc
}

func (f *flaky) Run(ctx context.Context) error {
	f.runs++
	switch f.runs {
	case 1:
		panic("first")
	case 2:
		return errors.New("second")
	case 3:
		return nil
	}
	f.cancel()
	<-ctx.Done()
	return nil
}

func (f *flaky) Ready() <-chan struct{} { return nil }
func (f *flaky) String() string         { return "flaky" }

// Whatever way a part ends, it is started again until it is told to stop.
func TestKeep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &flaky{cancel: cancel}
	guard.Keep(ctx, slog.New(slog.DiscardHandler), f, time.Microsecond)
	if f.runs != 4 {
		t.Errorf("ran %d times, want 4", f.runs)
	}
}

func TestCall(t *testing.T) {
	if err := guard.Call(func() error { return nil }); err != nil {
		t.Errorf("Call of a good function = %v", err)
	}
	err := guard.Call(func() error { var none []int; return fmt.Errorf("%d", none[len(none)]) })
	if err == nil || !strings.Contains(err.Error(), "out of range") || !strings.Contains(err.Error(), "guard_test.go") {
		t.Errorf("Call of a panicking function = %v, want the panic and its place", err)
	}
}
