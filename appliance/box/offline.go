package box

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/api"
	"sanstick/target"
)

// work does something on the goroutine that owns the targets. Once begun it
// isn't broken off, whoever still listens.
func (s *storage) work(ctx context.Context, do func(context.Context) error) error {
	done := make(chan error, 1)
	select {
	case s.works <- func(ctx context.Context) { done <- do(ctx) }:
		return <-done
	case <-ctx.Done():
		return ctx.Err()
	}
}

// replace takes a volume from its initiators while do makes it hold something
// else, and gives it back, with the same identity and the same number. If an
// initiator is logged in that sees it, that is refused unless force is set: what
// it knows of the volume would be wrong afterwards.
func (s *storage) replace(ctx context.Context, id volumeID, force bool, progress func(api.Progress), do func(context.Context) error) error {
	return s.work(ctx, func(ctx context.Context) error {
		if who := s.usersOf(id); len(who) > 0 && !force {
			return &api.Error{Message: fmt.Sprintf("volume %s is in use: %s", id, strings.Join(who, "; ")),
				Do: "shut down what uses it, or log it out; --force takes the volume from under it, and what it hasn't written yet is lost"}
		}
		progress(api.Progress{What: "taking volume " + id.String() + " from its targets"})
		back := s.takeOffline(id)
		progress(api.Progress{What: "changing volume " + id.String()})
		return errors.Join(do(ctx), back())
	})
}

// usersOf says who is logged in to targets that serve a volume.
func (s *storage) usersOf(id volumeID) []string {
	sessions := s.server.Sessions()
	s.mu.Lock()
	defer s.mu.Unlock()
	var who []string
	for _, e := range s.targets {
		if !e.serves(id) {
			continue
		}
		for _, x := range sessions {
			if strings.EqualFold(x.Target, e.config.IQN) {
				who = append(who, fmt.Sprintf("%s (%s) is logged in to target %s", x.Initiator, x.Address, e.config.Name))
			}
		}
	}
	return who
}

// takeOffline removes a volume from all targets and closes it. back undoes that,
// as far as the volume can be served then. Only for the goroutine that owns the
// targets.
func (s *storage) takeOffline(id volumeID) (back func() error) {
	type place struct {
		e      *export
		number int
	}
	var places []place
	for _, e := range s.targets {
		i := slices.IndexFunc(e.units, func(u unit) bool { return u.id() == id })
		if i < 0 || !e.served {
			continue
		}
		n := e.units[i].lun.Number
		if err := s.server.RemoveLUN(e.config.IQN, uint16(n)); err != nil {
			s.log.Error("Cannot take a LUN from its target", "target", e.config.Name, "error", err)
		}
		s.setUnits(e, slices.Delete(slices.Clone(e.units), i, i+1), nil)
		s.release(id)
		places = append(places, place{e, n})
	}
	return func() error {
		var errs []error
		for _, p := range places {
			v, err := s.open(id)
			if err == nil {
				if err = s.server.AddLUN(p.e.config.IQN, target.LUN{Number: uint16(p.number), Unit: v.scsi}); err != nil {
					s.release(id)
				}
			}
			if err != nil {
				err = fmt.Errorf("LUN %d of target %s isn't served: %w", p.number, p.e.config.Name, err)
				errs = append(errs, err)
				s.setUnits(p.e, p.e.units, err)
				continue
			}
			u := unit{lun: v.info, opened: v}
			u.lun.Number = p.number
			s.setUnits(p.e, append(slices.Clone(p.e.units), u), nil)
		}
		return errors.Join(errs...)
	}
}

// setUnits records which volumes a target serves. An error is added to those
// that it has.
func (s *storage) setUnits(e *export, units []unit, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.units, e.err = units, errors.Join(e.err, err)
}

// renamed gives a volume and its snapshots their new names where they are open. Only
// for the goroutine that owns the targets.
func (s *storage) renamed(old volumeID, name string) {
	become := func(id volumeID) volumeID {
		if id == old || id.pool == old.pool && strings.HasPrefix(id.name, old.name+"@") {
			id.name = name + strings.TrimPrefix(id.name, old.name)
		}
		return id
	}
	for id, v := range s.volumes {
		now := become(id)
		if now == id {
			continue
		}
		delete(s.volumes, id)
		v.info.Volume = now.name
		v.at.Store(&now)
		s.volumes[now] = v
		s.space.rename(id, now)
	}
	for _, e := range s.targets {
		units := slices.Clone(e.units)
		for i := range units {
			units[i].lun.Volume = become(units[i].id()).name
		}
		s.setUnits(e, units, nil)
	}
}
