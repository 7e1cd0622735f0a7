package box

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/api"
	"sanstick/appliance/config"
	"sanstick/appliance/status"
	"sanstick/appliance/task"
)

// errAdopted ends a box that was given another configuration as a whole: host
// name, network and all else are set up by starting again.
var errAdopted = errors.New("a configuration was adopted: starting again with it")

// adoptConfig writes what the data disks keep to this stick, and has the daemon
// start again with it.
func (b *box) adoptConfig(_ context.Context, q api.AdoptConfigRequest, _ func(api.Progress)) (a api.AdoptConfigAnswer, err error) {
	if !b.applying.TryLock() {
		return a, &api.Error{Message: "another configuration is being applied", Do: "wait for that"}
	}
	defer b.applying.Unlock()
	b.copies.readAll() // it may be that nobody has yet
	list, mute := b.copies.found()
	if q.Check {
		for _, k := range list {
			a.Kept = append(a.Kept, keptConfig(k))
		}
		return a, nil
	}
	if err := refuseMute(mute); err != nil && !q.Force {
		return a, err
	}
	k, err := chooseKept(list, q.From)
	if err != nil {
		return a, err
	}
	if !q.Force {
		if err := b.refuseAdoption(); err != nil {
			return a, err
		}
	}
	if err := b.adopt(k); err != nil {
		return a, err
	}
	a.Kept, a.Config = []api.KeptConfig{keptConfig(k)}, string(k.copy.Files[configName])
	return a, nil
}

func keptConfig(k keptBy) api.KeptConfig {
	return api.KeptConfig{Appliance: k.copy.Appliance, Hostname: k.copy.Hostname, Time: k.copy.Time, Disks: k.disks, Pools: k.pools}
}

// refuseMute refuses to adopt while nothing is known of disks that are here.
func refuseMute(mute []string) error {
	if len(mute) == 0 {
		return nil
	}
	return &api.Error{Message: "not all disks say what they keep, which may be newer: " + strings.Join(mute, "; "),
		Do: "try again a moment later; or, if such a disk is lost, give --force"}
}

// chooseKept finds the copy that is meant.
func chooseKept(list []keptBy, from string) (keptBy, error) {
	found := slices.DeleteFunc(slices.Clone(list), func(k keptBy) bool {
		return from != "" && !strings.EqualFold(k.copy.Hostname, from) && k.copy.Appliance != from && !slices.Contains(k.disks, from)
	})
	switch {
	case len(list) == 0:
		return keptBy{}, &api.Error{Message: "no disk that is here keeps a configuration", Do: "connect the disks of the pool; or take the pool as it is: sanctl pool adopt"}
	case len(found) == 0:
		return keptBy{}, fmt.Errorf("no disk that is here keeps a configuration of %s", from)
	case len(found) > 1:
		var all []string
		for _, k := range found {
			all = append(all, k.copy.Appliance+": "+k.String())
		}
		return keptBy{}, &api.Error{Message: "several are kept: " + strings.Join(all, "; "), Do: "say which one: sanctl config adopt FROM, with the host name, the ID, or the serial number of a disk"}
	}
	return found[0], nil
}

// refuseAdoption tells why nothing should be adopted now.
func (b *box) refuseAdoption() error {
	if s := b.settings(); !s.trusted || !s.config.Blank() {
		return &api.Error{Message: "this stick has a configuration, or one with errors, which would be lost", Do: "save it by sanctl config show, and give --force"}
	}
	for _, o := range b.pools.Offers() {
		if len(o.Missing) > 0 {
			return &api.Error{Message: fmt.Sprintf("disk %s of pool %s is missing, and may keep a newer configuration", strings.Join(o.Missing, ", "), o.Name),
				Do: "connect it; or, if it is lost, give --force"}
		}
	}
	return nil
}

// adopt writes a copy to the stick. It must hold applying.
func (b *box) adopt(k keptBy) error {
	if b.stick == nil {
		return &api.Error{Message: "there is no stick to write the configuration to", Do: "plug one in"}
	}
	if _, err := config.Parse(configName, k.copy.Files[configName]); err != nil {
		return &api.Error{Message: "the configuration that is kept has errors: " + strings.Join(messages(err), "; "), Do: "take the pools as they are: sanctl pool adopt"}
	}
	files := map[string][]byte{idName: []byte(k.copy.Appliance + "\n"), generationName: encodeGeneration(k.copy.Generation)}
	for _, name := range copiedFiles { // no other files, whatever the disk says
		if data, ok := k.copy.Files[name]; ok {
			files[name] = data
		}
	}
	if err := b.copies.put(files); err != nil {
		return fmt.Errorf("cannot write the configuration to the stick: %w", err)
	}
	b.log.Warn("A configuration was adopted", "from", k.String())
	select {
	case b.adopted <- struct{}{}:
	default: // another one just before
	}
	return nil
}

// wholePools tells whether all disks of the configured pools are here.
func (b *box) wholePools() bool {
	return !slices.ContainsFunc(b.settings().config.Pools, func(p config.Pool) bool {
		_, here := b.pools.Identities(p.Name)
		return !here || len(b.pools.Missing(p.Name)) > 0
	})
}

// answerTime is left for the answer to a command before the daemon starts again.
const answerTime = time.Second

// keepCopies keeps copies of the stick on the data disks, and goes on with such a
// copy when it is told to.
func (b *box) keepCopies(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-b.storage.Ready(): // the pools are known
	}
	return task.Run(ctx,
		task.Func("copies of the stick", func(ctx context.Context) error {
			b.copies.run(ctx)
			return nil
		}),
		task.Func("reservations", b.reservations.tend),
		task.Func("stick", b.watchStick),
		task.Func("adoption", func(ctx context.Context) error {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-tick.C:
					b.adoptAtOnce()
				case <-b.adopted:
					select {
					case <-ctx.Done():
					case <-time.After(answerTime):
					}
					return errAdopted
				}
			}
		}))
}

// adoptAtOnce adopts what is kept, if the stick's configuration says so and
// there is no doubt.
func (b *box) adoptAtOnce() {
	s := b.settings()
	if !s.config.Adopt || b.refuseAdoption() != nil || !b.applying.TryLock() {
		return
	}
	defer b.applying.Unlock()
	list, mute := b.copies.found()
	if len(mute) > 0 || len(list) != 1 || len(b.pools.Offers()) == 0 {
		return
	}
	if err := b.adopt(list[0]); err != nil {
		b.log.Error("Cannot adopt the configuration that the disks keep", "error", err)
	}
}

// stickPeriod is how often is looked whether the stick is here.
const stickPeriod = 2 * time.Second

// watchStick notices that the stick was pulled out, and mounts what comes in its
// place. What is in force stays so.
func (b *box) watchStick(ctx context.Context) error {
	if b.stick == nil || b.stick.memory {
		<-ctx.Done() // lateStick waits for one
		return nil
	}
	tick := time.NewTicker(stickPeriod)
	defer tick.Stop()
	for {
		err := b.stick.check(ctx)
		b.sticks.look(ctx, b.stick)
		if was := b.stickGone.Swap(err != nil); was != (err != nil) {
			if err != nil {
				b.log.Warn("The stick was pulled out; what is served goes on", "error", err)
			} else {
				b.log.Info("The stick is here again")
			}
			b.copies.changed()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// stickStatus tells about the stick. It never waits for it.
func (b *box) stickStatus(set *settings) (s status.Stick, problems []status.Problem) {
	if b.stick == nil {
		return s, nil // the configuration's problems say so
	}
	s = status.Stick{Here: !b.stickGone.Load(), Memory: b.stick.memory, Writes: b.stick.writes.Load(), Copies: b.copies.holders()}
	lacks := b.stick.lacks()
	problems = b.sticks.problems()
	switch {
	case s.Memory && set.file != nil && len(s.Copies) == 0:
		problems = append(problems, status.Problem{Health: status.Degraded, What: "the configuration is in memory only, and lost when the machine is switched off: no disk keeps a copy of it",
			Do: "save it by sanctl config show, onto a volume labelled " + stickLabel})
	case s.Memory:
	case !s.Here:
		problems = append(problems, status.Problem{Health: status.Degraded, What: "the stick was pulled out; what is served goes on, but nothing new can be kept on it",
			Do: "plug it in again"})
	case lacks != nil:
		problems = append(problems, status.Problem{Health: status.Degraded, What: fmt.Sprintf("the stick lacks what is known of the pools' disks: %v", lacks),
			Do: "make it writable, or use another one; until then, don't start the machine with other disks than are here now"})
	case b.copies.other() && set.trusted:
		problems = append(problems, status.Problem{Health: status.Degraded, What: "the configuration on the stick isn't the one that is in force: it was edited, or it is another stick",
			Do: "to go over to it: sanctl config apply; to write what the disks keep over it: sanctl config adopt --force"})
	}
	return s, problems
}
