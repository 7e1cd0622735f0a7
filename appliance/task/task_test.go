package task

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func untilCancelled(ctx context.Context) error { <-ctx.Done(); return nil }

func isReady(t Task) bool {
	select {
	case <-t.Ready():
		return true
	default:
		return false
	}
}

func TestRun(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name string
		run  func(context.Context) error
		want string // "" is no error
	}{
		{"cancelled", untilCancelled, ""},
		{"fails", func(context.Context) error { return boom }, "other: boom"},
		{"ends by itself", func(context.Context) error { return nil }, "other: ended without being asked to"},
		{"fails while it stops", func(ctx context.Context) error { <-ctx.Done(); return boom }, "other: boom"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				stopped := false
				slow := Func("slow", func(ctx context.Context) error {
					<-ctx.Done()
					time.Sleep(time.Second) // Run waits for it
					stopped = true
					return nil
				})
				got := ""
				if err := Run(ctx, slow, Func("other", tt.run)); err != nil {
					got = err.Error()
				}
				if got != tt.want {
					t.Errorf("error %q, want %q", got, tt.want)
				}
				if !stopped {
					t.Error("Run did not wait for a task")
				}
			})
		})
	}
	if err := Run(t.Context()); err != nil {
		t.Errorf("no tasks: %v", err)
	}
}

func TestRunKeepsTheCause(t *testing.T) {
	boom := errors.New("boom")
	if err := Run(t.Context(), Func("f", func(context.Context) error { return boom })); !errors.Is(err, boom) {
		t.Errorf("%v is not the task's error", err)
	}
}

func TestFunc(t *testing.T) {
	n := 0
	f := Func("f", func(context.Context) error { n++; return nil })
	if f.String() != "f" || isReady(f) {
		t.Errorf("%s is ready before it runs", f)
	}
	for range 2 {
		if err := f.Run(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n != 2 || !isReady(f) {
		t.Errorf("ran %d times, ready %v", n, isReady(f))
	}
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var starts []time.Duration
		r := Restart("r", nil, func() Task {
			starts = append(starts, time.Since(begin))
			n := len(starts)
			return Func("inner", func(ctx context.Context) error {
				switch {
				case n == 9: // lasts: the pause starts small again
					time.Sleep(2 * time.Minute)
				case n == 11:
					return untilCancelled(ctx)
				case n%2 == 0:
					return nil
				}
				return errors.New("boom")
			})
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if isReady(r) {
			t.Error("ready before it runs")
		}
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
		const s = time.Second
		want := []time.Duration{0, 1 * s, 3 * s, 7 * s, 15 * s, 31 * s, 63 * s, 123 * s, 183 * s, 304 * s, 306 * s}
		if diff := cmp.Diff(want, starts); diff != "" {
			t.Errorf("starts (-want +got):\n%s", diff)
		}
		if !isReady(r) || r.String() != "r" {
			t.Errorf("%s is not ready", r)
		}
		if d := time.Since(begin); d != time.Hour {
			t.Errorf("ended after %v", d)
		}
	})
}

// A cancellation ends the pause.
func TestRestartIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		never := make(chan struct{})
		r := Restart("r", nil, func() Task { return unready{never} })
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d != 40*time.Second || isReady(r) {
			t.Errorf("ended after %v, ready %v", d, isReady(r))
		}
	})
}

// unready is a task that fails at once and is never ready.
type unready struct{ never chan struct{} }

func (u unready) Run(context.Context) error { return errors.New("boom") }
func (u unready) Ready() <-chan struct{}    { return u.never }
func (u unready) String() string            { return "unready" }
