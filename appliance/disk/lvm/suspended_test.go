package lvm

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/sys"
)

func TestParseSuspended(t *testing.T) {
	got := parseSuspended("tank-golden Active\ntank-vm1 Suspended\nother-x Suspended \nNo devices found\n")
	if diff := cmp.Diff([]string{"tank-vm1", "other-x"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// running is a Runner whose commands tell when they begin, and go on until end is
// closed or they are called off.
type running struct {
	begun chan struct{}
	end   chan struct{}
}

func (r running) Run(ctx context.Context, _ sys.Command) (sys.Output, error) {
	r.begun <- struct{}{}
	select {
	case <-r.end:
		return sys.Output{}, nil
	case <-ctx.Done():
		return sys.Output{}, ctx.Err()
	}
}

// A change goes on to its end; a question is called off, and so is a change at its
// deadline.
func TestCalledOff(t *testing.T) {
	change := func(ctx context.Context, c *Client) error { return c.ChangeTags(ctx, "tank", []string{"a"}, nil) }
	for _, tt := range []struct {
		name     string
		do       func(ctx context.Context, c *Client) error
		deadline time.Duration
		want     error
	}{
		{"change", change, time.Hour, nil},
		{"change in its time", change, 50 * time.Millisecond, context.DeadlineExceeded},
		{"question", func(ctx context.Context, c *Client) error { _, err := c.State(ctx); return err }, time.Hour, context.Canceled},
	} {
		r := running{make(chan struct{}), make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
		done := make(chan error)
		go func() { done <- tt.do(ctx, &Client{Runner: r}) }()
		<-r.begun
		if tt.deadline > time.Second {
			cancel()
		}
		var err error
		select {
		case err = <-done:
		case <-time.After(200 * time.Millisecond):
			close(r.end)
			err = <-done
		}
		cancel()
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := change(ctx, &Client{Runner: running{}}); !errors.Is(err, context.Canceled) {
		t.Errorf("a change that wasn't begun: %v", err)
	}
}
