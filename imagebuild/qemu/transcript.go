package qemu

import (
	"context"
	"errors"
	"io"
	"regexp"
	"sync"
)

// maxTranscript bounds what is remembered of a console, in bytes.
const maxTranscript = 1 << 20

var errStopped = errors.New("the machine has stopped")

// transcript remembers what is written to it, and lets readers wait for a text.
type transcript struct {
	copyTo io.Writer // may be nil

	mu      sync.Mutex // guards the rest
	text    []byte
	read    int           // how much of text is behind the last match
	changed chan struct{} // closed and replaced at each change
	closed  bool
}

func newTranscript(copyTo io.Writer) *transcript {
	return &transcript{copyTo: copyTo, changed: make(chan struct{})}
}

// Write implements io.Writer. It never fails: a console nobody can show must not stop the machine.
func (t *transcript) Write(p []byte) (int, error) {
	if t.copyTo != nil {
		_, _ = t.copyTo.Write(p)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - maxTranscript; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
		t.read = max(0, t.read-over)
	}
	close(t.changed)
	t.changed = make(chan struct{})
	return len(p), nil
}

// close tells waiting readers that nothing more comes.
func (t *transcript) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

// wait waits for a match behind the last one.
func (t *transcript) wait(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	for {
		m, changed, closed := t.match(pattern)
		switch {
		case m != nil:
			return m, nil
		case closed:
			return nil, errStopped
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (t *transcript) match(pattern *regexp.Regexp) (groups []string, changed <-chan struct{}, closed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := pattern.FindSubmatchIndex(t.text[t.read:])
	if at == nil {
		return nil, t.changed, t.closed
	}
	for i := 0; i < len(at); i += 2 {
		g := ""
		if at[i] >= 0 {
			g = string(t.text[t.read+at[i] : t.read+at[i+1]])
		}
		groups = append(groups, g)
	}
	t.read += at[1]
	return groups, nil, false
}

// String returns all that is remembered.
func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
