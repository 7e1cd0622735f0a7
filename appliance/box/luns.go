package box

import (
	"context"
	"slices"
	"strings"

	"sanstick/appliance/config"
	"sanstick/appliance/disk/pool"
)

// maxLUN is the highest number that every initiator can address.
const maxLUN = 255

// lunNumbers gives the volumes of a target their numbers: those that are kept
// with them; for others the place in the list, or a free one if that is taken.
// One for which there is none left isn't in the result. poolOf tells which pool
// a volume is in.
func lunNumbers(t config.Target, kept []pool.LUN, poolOf func(volume string) string) map[string]int {
	numbers := map[string]int{}
	taken := map[int]bool{}
	used := map[int]bool{}
	for _, l := range kept {
		if l.Target == t.Name {
			taken[l.Number] = true
		}
	}
	for _, v := range t.Volumes {
		for _, l := range kept {
			_, has := numbers[v]
			if l.Target == t.Name && l.Volume == v && l.Pool == poolOf(v) && !has && !used[l.Number] && l.Number <= maxLUN {
				numbers[v], used[l.Number] = l.Number, true
			}
		}
	}
	give := func(volume string, n int) {
		if _, has := numbers[volume]; !has && !taken[n] {
			numbers[volume], taken[n] = n, true
		}
	}
	for i, v := range t.Volumes {
		give(v, i)
	}
	for _, v := range t.Volumes {
		for n := 0; n <= maxLUN; n++ {
			give(v, n)
		}
	}
	return numbers
}

// poolIn tells which pool of a configuration a volume, or a snapshot, is in.
func poolIn(c *config.Config) func(string) string {
	return func(name string) string {
		name, _, _ = strings.Cut(name, "@")
		i := slices.IndexFunc(c.Volumes, func(v config.Volume) bool { return v.Name == name })
		if i < 0 {
			return ""
		}
		return c.Volumes[i].Pool
	}
}

// numbers are those of a target that is in force.
func (s *storage) numbers(t config.Target) map[string]int {
	return lunNumbers(t, s.box.pools.LUNs(), poolIn(s.box.settings().config))
}

// numbersOf are the LUNs that a volume, or a snapshot, will be, so that it has
// their numbers from the moment when it is made. Of a target with volumes of
// several pools nothing is said: the numbers of another pool's volumes may not be
// known yet.
func (s *storage) numbersOf(in, name string) []pool.LUN {
	c := s.box.settings().config
	poolOf := poolIn(c)
	var all []pool.LUN
	for _, t := range c.Targets {
		if !slices.Contains(t.Volumes, name) || slices.ContainsFunc(t.Volumes, func(v string) bool { return poolOf(v) != in }) {
			continue
		}
		if n, ok := s.numbers(t)[name]; ok {
			all = append(all, pool.LUN{Pool: in, Volume: name, Target: t.Name, Number: n})
		}
	}
	return all
}

// keepNumbers has the pools keep the LUN numbers, before any of them is used.
func (s *storage) keepNumbers(ctx context.Context) {
	c := s.box.settings().config
	var all []pool.LUN
	for _, t := range c.Targets {
		numbers := s.numbers(t)
		for _, v := range t.Volumes {
			if n, ok := numbers[v]; ok {
				all = append(all, pool.LUN{Pool: poolIn(c)(v), Volume: v, Target: t.Name, Number: n})
			}
		}
	}
	kept := s.box.pools.LUNs()
	all = slices.DeleteFunc(all, func(l pool.LUN) bool { return slices.Contains(kept, l) })
	if err := s.box.pools.KeepLUNs(ctx, all); err != nil && ctx.Err() == nil {
		s.log.Error("LUN numbers aren't kept", "error", err)
	}
}
