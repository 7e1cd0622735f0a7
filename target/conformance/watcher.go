package main

import (
	"context"
	"errors"
	"fmt"
)

// watcher captures while tests run, in files of bounded size, and has each
// dissected while the next one fills.
type watcher struct {
	ctx   context.Context
	dir   string
	ports []string
	// header and data digests are in use. With off, nothing is captured.
	header, data, off bool

	now     *capture
	pending chan error
	found   dissected
	errs    []error
}

// begin is called before each test.
func (w *watcher) begin() {
	if w.off || w.now != nil && w.now.size() < captureEnough {
		return
	}
	w.rotate()
	var err error
	if w.now, err = startCapture(w.ctx, w.dir, w.ports); err != nil {
		w.errs = append(w.errs, err)
		w.off = true
	}
}

// rotate ends the capture that runs and has it dissected, after the one before.
func (w *watcher) rotate() {
	if w.pending != nil {
		w.errs = append(w.errs, <-w.pending)
		w.pending = nil
	}
	if w.now == nil {
		return
	}
	file, err := w.now.stop()
	w.now = nil
	if err != nil {
		w.errs = append(w.errs, err)
		return
	}
	done := make(chan error, 1)
	w.pending = done
	go func() {
		found, err := dissect(w.ctx, file, w.ports, w.header, w.data)
		w.found.add(found) // nobody looks before done has something
		done <- err
	}()
}

// end is called after the last test.
func (w *watcher) end() error {
	w.rotate()
	w.rotate()
	for _, b := range w.found.bad {
		w.errs = append(w.errs, fmt.Errorf("tshark: %s", b))
	}
	if !w.off && w.found.pdus == 0 {
		w.errs = append(w.errs, errors.New("tshark has seen no PDUs"))
	}
	return errors.Join(w.errs...)
}
