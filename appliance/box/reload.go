package box

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sanstick/appliance/api"
	"sanstick/appliance/config"
	"sanstick/appliance/disk/pool"
)

func (b *box) configActions() []api.Action {
	return []api.Action{api.ApplyConfig.Handle(b.applyConfig), api.ReadConfig.Handle(b.readConfig), api.AdoptConfig.Handle(b.adoptConfig)}
}

// readConfig sends the user's file as it is, secrets included: only root may
// ask.
func (b *box) readConfig(_ context.Context, _ api.ReadConfigRequest, w io.Writer) (api.ReadConfigAnswer, error) {
	path := filepath.Join(b.o.StickDir, configName)
	data, err := readBounded(path)
	if err != nil {
		return api.ReadConfigAnswer{}, fmt.Errorf("cannot read the configuration: %w", err)
	}
	_, err = w.Write(data)
	return api.ReadConfigAnswer{Path: path}, err
}

// applyConfig goes over to what the file on the stick says now, or puts another
// file there and goes over to that. Nothing is changed if it has errors, or if
// it would interrupt somebody and that wasn't asked for.
func (b *box) applyConfig(ctx context.Context, q api.ApplyConfigRequest, body io.Reader, progress func(api.Progress)) (a api.ApplyConfigAnswer, err error) {
	if !b.applying.TryLock() {
		return a, &api.Error{Message: "another configuration is being applied", Do: "wait for that"}
	}
	defer b.applying.Unlock()
	file, err := b.newFile(q, body)
	if err != nil {
		return a, err
	}
	return b.goOver(ctx, file, q, progress)
}

// goOver does what applyConfig says, with file. It must hold applying.
func (b *box) goOver(ctx context.Context, file []byte, q api.ApplyConfigRequest, progress func(api.Progress)) (a api.ApplyConfigAnswer, err error) {
	path := filepath.Join(b.o.StickDir, configName)
	good, goodErr := readGood(b.o.StickDir, config.Newest)
	next := decide(path, file, nil, good, goodErr)
	if !next.trusted {
		return a, &api.Error{Message: "the configuration has errors: " + strings.Join(next.status.Errors, "; "), Do: "correct them; nothing was changed"}
	}
	old := b.settings()
	changes := config.Diff(old.config, next.config)
	for _, c := range changes {
		a.Changes = append(a.Changes, c.String())
		if c.Section == "interface" || c.Section == "hostname" {
			a.Later = append(a.Later, c.String())
		}
	}
	a.Warnings = next.status.Warnings
	a.Interrupts = b.storage.interrupts(next.config)
	switch {
	case q.Check:
		return a, nil
	case len(a.Interrupts) > 0 && !q.Force:
		return a, &api.Error{Message: "this would interrupt initiators: " + strings.Join(a.Interrupts, "; "),
			Do: "end their work first, or give --force; nothing was changed"}
	}
	if q.Replace {
		if err := b.writeConfig(file, next); err != nil {
			return a, err
		}
	} else {
		b.keepGood(next)
	}
	next.remember = nil
	progress(api.Progress{What: "bringing pools and targets in line"})
	r := applyRequest{settings: &next, done: make(chan error, 1)}
	select {
	case b.storage.applies <- r:
	case <-ctx.Done():
		return a, ctx.Err()
	}
	// It isn't stopped halfway, whoever still listens.
	if err := <-r.done; err != nil {
		return a, err
	}
	b.copies.changed()
	if s, err := b.snapshot(ctx); err == nil {
		a.Problems = s.Problems
	}
	return a, nil
}

// newFile returns what is to be applied.
func (b *box) newFile(q api.ApplyConfigRequest, body io.Reader) ([]byte, error) {
	if !q.Replace {
		data, err := readBounded(filepath.Join(b.o.StickDir, configName))
		if err != nil {
			return nil, fmt.Errorf("cannot read the configuration: %w", err)
		}
		return data, nil
	}
	data, err := io.ReadAll(io.LimitReader(body, config.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot receive the configuration: %w", err)
	}
	return data, nil // config.Parse refuses one that is too long
}

// writeConfig replaces the user's file, whole or not at all, and keeps what next
// wants to be kept as the last good one. Making the stick writable takes its time, so
// that is done once.
func (b *box) writeConfig(data []byte, next settings) error {
	if b.stick == nil {
		return &api.Error{Message: "the configuration can't be kept: the stick isn't here", Do: "plug it in"}
	}
	path := filepath.Join(b.o.StickDir, configName)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		b.keepGood(next)
		return nil
	}
	var keepErr error
	err := b.stick.write(func() error {
		if err := replaceFile(path, data); err != nil {
			return err
		}
		if next.remember != nil {
			keepErr = next.keep(b.o.StickDir)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot write the configuration: %w", err)
	}
	b.toldKeeping(keepErr)
	return nil
}

// applyRequest asks the storage task to go over to another configuration.
type applyRequest struct {
	settings *settings
	done     chan error // holds one
}

// apply goes over to another configuration: pools and volumes are brought in
// line, and targets are changed without ending sessions where that is possible.
// It runs on the goroutine that owns the targets. What can't be done is in the
// status.
func (s *storage) apply(ctx context.Context, next *settings) error {
	s.box.inForce.Store(next)
	if err := s.box.pools.Bring(ctx, specs(*next)); err != nil {
		if ctx.Err() != nil {
			return errors.New("the appliance is stopping; the configuration is applied when it starts again")
		}
		s.log.Error("Not all pools are usable", "error", err)
	}
	s.keepNumbers(ctx)
	var targets, gone []*export
	for _, e := range s.targets {
		if !slices.ContainsFunc(next.config.Targets, func(t config.Target) bool { return t.IQN == e.config.IQN }) {
			gone = append(gone, e)
		}
	}
	for _, e := range gone {
		s.drop(e)
	}
	for _, t := range next.config.Targets {
		e := &export{config: t}
		i := slices.IndexFunc(s.targets, func(o *export) bool { return o.config.IQN == t.IQN })
		switch {
		case i >= 0 && s.targets[i].served:
			s.change(s.targets[i], e)
		case i >= 0:
			s.drop(s.targets[i])
			s.export(e)
		default:
			s.export(e)
		}
		targets = append(targets, e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets = targets
	return nil
}

// change makes e of a target that is served as old. Sessions go on.
func (s *storage) change(old, e *export) {
	units, luns, failed := s.openAll(e.config)
	if len(luns) == 0 && len(e.config.Volumes) > 0 {
		s.drop(old)
		s.set(e, nil, false, failed)
		return
	}
	err := s.server.Update(targetConfig(e.config, luns))
	for _, u := range old.units {
		s.release(u.id())
	}
	s.set(e, units, true, errors.Join(failed, err))
}

// interrupts says whose work a configuration would interrupt, and how.
func (s *storage) interrupts(next *config.Config) []string {
	var out []string
	sessions, kept := s.server.Sessions(), s.box.pools.LUNs()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range sessions {
		i := slices.IndexFunc(s.targets, func(e *export) bool { return strings.EqualFold(e.config.IQN, x.Target) })
		if i < 0 {
			continue
		}
		e := s.targets[i]
		if why := interruption(e, x.Initiator, next, kept); why != "" {
			out = append(out, fmt.Sprintf("%s uses target %s, %s", x.Initiator, e.config.Name, why))
		}
	}
	return out
}

// interruption says what an initiator of a target would lose; empty for nothing.
func interruption(e *export, initiator string, next *config.Config, kept []pool.LUN) string {
	i := slices.IndexFunc(next.Targets, func(t config.Target) bool { return t.IQN == e.config.IQN })
	if i < 0 {
		return "which goes"
	}
	t := next.Targets[i]
	allowed := func(name string) bool { return name == config.AnyInitiator || strings.EqualFold(name, initiator) }
	if !slices.ContainsFunc(t.Initiators, allowed) {
		return "and may not any more"
	}
	poolOf := poolIn(next)
	numbers := lunNumbers(t, kept, poolOf)
	for _, u := range e.units {
		n, stays := numbers[u.lun.Volume]
		if !stays || n != u.lun.Number || poolOf(u.lun.Volume) != u.lun.Pool {
			return fmt.Sprintf("of which LUN %d is another one or goes", u.lun.Number)
		}
	}
	return ""
}
