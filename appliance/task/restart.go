package task

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// The pause before a restart doubles from the first to the last of these; a
// run that lasts longer than the last one sets it back.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// Restart makes a Task that keeps a part going which the others can do
// without: whenever the task that start made fails or ends by itself, that is
// logged, and after a pause another one is made. Its own Run only ends by
// cancellation, without an error. It is ready when a task of it was ready
// once. A nil log discards.
func Restart(name string, log *slog.Logger, start func() Task) Task {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &restartTask{name: name, log: log, start: start, ready: make(chan struct{})}
}

type restartTask struct {
	name  string
	log   *slog.Logger
	start func() Task
	once  sync.Once
	ready chan struct{}
}

func (t *restartTask) Ready() <-chan struct{} { return t.ready }
func (t *restartTask) String() string         { return t.name }

func (t *restartTask) Run(ctx context.Context) error {
	pause := firstPause
	for {
		began := time.Now()
		err := t.runOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = errors.New("ended without being asked to")
		}
		if time.Since(began) > lastPause {
			pause = firstPause
		}
		t.log.Error("Task failed and will be restarted", "task", t.name, "error", err, "pause", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

// runOnce makes and runs one task, and passes its readiness on.
func (t *restartTask) runOnce(ctx context.Context) error {
	inner := t.start()
	ended, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-inner.Ready():
			t.once.Do(func() { close(t.ready) })
		case <-ended:
		}
	}()
	err := inner.Run(ctx)
	close(ended)
	<-watched
	return err
}
