package box

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sanstick/appliance/status"
)

// snapshot collects what every part says about itself.
func (b *box) snapshot(ctx context.Context) (status.Snapshot, error) {
	set := b.settings()
	c := set.config
	s := status.Snapshot{
		Time:       time.Now(),
		Hostname:   c.Hostname,
		Version:    b.o.Version,
		Started:    b.started,
		Config:     set.status,
		Memory:     memory(b.o.ProcDir),
		Interfaces: b.network.Status(),
	}
	s.Boot = b.boot.status()
	if name, err := os.Hostname(); s.Hostname == "" && err == nil {
		s.Hostname = name
	}
	var problems []status.Problem
	s.Pools, s.Disks, problems = b.pools.Status(ctx)
	s.Offers = b.pools.Offers()
	s.Arrays = b.pools.Arrays()
	s.Targets = b.storage.status(b.portals(s.Interfaces))
	s.Problems = append(configProblems(s.Config), problems...)
	s.System, problems = b.updates.status()
	s.Problems = append(s.Problems, problems...)
	s.Problems = append(s.Problems, b.network.Problems()...)
	s.Problems = append(s.Problems, targetProblems(s.Targets)...)
	var stickProblems []status.Problem
	s.Stick, stickProblems = b.stickStatus(set)
	if s.Stick.Memory {
		s.Config.Warnings = append(slices.Clip(s.Config.Warnings), memoryWarning)
	}
	s.Problems = append(s.Problems, stickProblems...)
	s.Problems = append(s.Problems, b.reservations.problems()...)
	s.Problems = append(s.Problems, b.copies.problems(c.Blank() && set.trusted)...)
	s.Problems = append(s.Problems, b.firmware.problems()...)
	slices.SortStableFunc(s.Problems, func(a, b status.Problem) int { return rank(b.Health) - rank(a.Health) })
	s.Health = status.OK
	for _, p := range s.Problems {
		s.Health = s.Health.Worse(p.Health)
	}
	for _, p := range s.Pools {
		s.Health = s.Health.Worse(p.Health)
	}
	return s, ctx.Err()
}

// rank orders healths, worst highest.
func rank(h status.Health) int {
	return slices.Index([]status.Health{status.OK, status.Degraded, status.Failed}, h)
}

// configProblems says what the state of the configuration means for a person.
func configProblems(c status.Config) []status.Problem {
	var out []status.Problem
	health := status.Degraded
	if c.InForce == inForceNone {
		health = status.Failed
	}
	for _, e := range c.Errors {
		do := "mend it and run sanctl config apply; until then what was configured before is served"
		if c.InForce == inForceNone {
			do = "mend it and run sanctl config apply; until then nothing is served"
		}
		out = append(out, status.Problem{Health: health, What: e, Do: do})
	}
	return out
}

// targetProblems names the targets that aren't served.
func targetProblems(targets []status.Target) []status.Problem {
	var out []status.Problem
	for _, t := range targets {
		if t.Error == "" {
			continue
		}
		out = append(out, status.Problem{
			Health: status.Failed,
			What:   fmt.Sprintf("target %s: %s", t.Name, strings.ReplaceAll(t.Error, "\n", "; ")),
			Do:     "see what is said of its pool",
		})
	}
	return out
}

// portals lists the addresses at which initiators find the targets: none until
// the port is open.
func (b *box) portals(interfaces []status.Interface) []string {
	b.storage.mu.Lock()
	port := b.storage.port
	b.storage.mu.Unlock()
	if port == "" {
		return nil
	}
	if b.portal != "" {
		return []string{b.portal}
	}
	var out []string
	for _, i := range interfaces {
		for _, a := range i.Addresses {
			p, err := netip.ParsePrefix(a)
			if err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
				out = append(out, net.JoinHostPort(p.Addr().String(), port))
			}
		}
	}
	return out
}

// memory reads /proc/meminfo. What can't be read stays zero.
func memory(procfs string) status.Memory {
	var m status.Memory
	data, err := os.ReadFile(filepath.Join(procfs, "meminfo"))
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			continue
		}
		switch f[0] {
		case "MemTotal:":
			m.Total = kib << 10
		case "MemAvailable:":
			m.Available = kib << 10
		}
	}
	return m
}
