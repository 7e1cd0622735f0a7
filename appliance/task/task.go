// Package task gives every long-lived part of the appliance the same
// lifetime: it runs until its context is cancelled, and whoever started it
// waits for it. A leaf.
package task

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
)

// A Task is something that runs until it is told to stop.
type Task interface {
	// Run works until ctx is cancelled, and then returns nil once everything
	// it started has ended. Any other return is a failure.
	Run(ctx context.Context) error
	// Ready is closed when the task does what it is there for.
	Ready() <-chan struct{}
	// String names the task in logs.
	String() string
}

// Run runs all tasks until ctx is cancelled or one of them ends, then stops
// the others and waits for them. It returns the first failure, or nil after a
// cancellation. A task that ends by itself without an error counts as failed:
// tasks are there for good.
func Run(ctx context.Context, tasks ...Task) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		g.Go(func() error {
			err := t.Run(ctx)
			switch {
			case err != nil:
				return fmt.Errorf("%s: %w", t, err)
			case ctx.Err() == nil:
				return fmt.Errorf("%s: ended without being asked to", t)
			}
			return nil
		})
	}
	return g.Wait()
}

// Func makes a Task of a function that is ready as soon as it runs. It may run
// again after it ended.
func Func(name string, run func(ctx context.Context) error) Task {
	return &funcTask{name: name, run: run, ready: make(chan struct{})}
}

type funcTask struct {
	name  string
	run   func(ctx context.Context) error
	once  sync.Once
	ready chan struct{}
}

func (t *funcTask) Run(ctx context.Context) error {
	t.once.Do(func() { close(t.ready) })
	return t.run(ctx)
}

func (t *funcTask) Ready() <-chan struct{} { return t.ready }
func (t *funcTask) String() string         { return t.name }
