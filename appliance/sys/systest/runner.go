package systest

import (
	"context"
	"sync"

	"sanstick/appliance/sys"
)

var _ sys.Runner = (*Runner)(nil)

// Runner is a sys.Runner that takes notes and answers with Handle. Safe for
// concurrent use; Handle is called one at a time.
type Runner struct {
	// Handle answers a command; nil answers everything with nothing.
	Handle func(c sys.Command) (sys.Output, error)

	mu       sync.Mutex
	commands []string
}

// Run implements sys.Runner.
func (r *Runner) Run(ctx context.Context, c sys.Command) (sys.Output, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return sys.Output{}, err
	}
	r.commands = append(r.commands, c.String())
	if r.Handle == nil {
		return sys.Output{}, nil
	}
	return r.Handle(c)
}

// Commands returns what was run so far, in order, and forgets it.
func (r *Runner) Commands() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.commands
	r.commands = nil
	return c
}
