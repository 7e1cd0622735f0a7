package box

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/api"
)

// withholdRequest asks to do something to a volume while nobody can use it.
type withholdRequest struct {
	volume string
	do     func() error
	done   chan error // holds one
}

// withhold does something to a volume that nobody may use meanwhile. It refuses
// if an initiator is logged in to a target that has it. Such targets are ended
// for the time; the volume's LUN stays away afterwards for as long as the pools
// don't give it out.
func (s *storage) withhold(ctx context.Context, volume string, do func() error) error {
	r := withholdRequest{volume: volume, do: do, done: make(chan error, 1)}
	select {
	case s.withholds <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-r.done // it isn't stopped halfway
}

// withheld runs on the goroutine that owns the targets.
func (s *storage) withheld(r withholdRequest) error {
	name := r.volume[strings.IndexByte(r.volume, '/')+1:]
	var having []*export
	for _, e := range s.targets {
		if slices.ContainsFunc(e.units, func(u unit) bool { return u.lun.Volume == name }) {
			having = append(having, e)
		}
	}
	for _, e := range having {
		for _, x := range s.server.Sessions() {
			if x.Target == e.config.IQN {
				return &api.Error{Message: fmt.Sprintf("volume %s is in use: initiator %s is logged in to target %s", name, x.Initiator, e.config.Name),
					Do: "log it out first; nothing was changed"}
			}
		}
	}
	for _, e := range having {
		s.drop(e)
	}
	err := r.do()
	for _, e := range having {
		s.export(e)
	}
	return err
}
