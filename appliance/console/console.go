// Package console makes what the appliance's own screen shows: a view over the
// status types. It is pure; the composition root prints it.
package console

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/status"
)

// rule separates banners from what else is on the screen.
const rule = "------------------------------------------------------------------------"

// maxItems bounds each list: an 80x25 screen holds the banner.
const maxItems = 6

// Banner gives the text to show, with a line end at its end. It depends on
// nothing that changes by itself (times, amounts in use, sessions), so a new
// banner means that something happened.
func Banner(s status.Snapshot) string {
	var b strings.Builder
	line := func(parts ...string) { b.WriteString(status.Clean(strings.Join(parts, "")) + "\n") }

	line(rule)
	line(cmp.Or(s.Hostname, "sanstick"), ": storage appliance, sanstick ", s.Version, ", ", system(s.System), health(s.Health))
	portals, network := addresses(s)
	line("  ", network)
	targets(line, s.Targets, portals)
	for _, p := range s.Pools {
		if p.Health != status.OK {
			line("  pool ", p.Name, " is ", string(p.Health), missing(p))
		}
	}
	for _, o := range s.Offers {
		line("  pool ", o.Name, " is here and isn't in the configuration: sanctl pool adopt ", o.Name)
	}
	if len(s.Problems) > 0 {
		line()
		more := bounded(len(s.Problems), func(i int) {
			line("  ! ", s.Problems[i].What)
			if s.Problems[i].Do != "" {
				line("    ", s.Problems[i].Do)
			}
		})
		if more > 0 {
			line(fmt.Sprintf("  ! and %d more: sanctl status", more))
		}
	}
	line()
	if s.Config.Path != "" {
		line("  configuration: ", s.Config.Path, inForce(s.Config))
	}
	line("  press Enter for a shell; `sanctl status` tells everything")
	line(rule)
	return b.String()
}

// system says which slot runs, if there are any.
func system(s status.System) string {
	if text := s.Text(); text != "" {
		return text + ", "
	}
	return ""
}

func health(h status.Health) string {
	switch h {
	case status.Degraded:
		return "DEGRADED"
	case status.Failed:
		return "FAILED"
	}
	return "all is well"
}

// addresses returns the portals of all targets, and a line about the network.
func addresses(s status.Snapshot) (portals []string, text string) {
	for _, t := range s.Targets {
		for _, p := range t.Portals {
			if !slices.Contains(portals, p) {
				portals = append(portals, p)
			}
		}
	}
	var all []string
	for _, i := range s.Interfaces {
		for _, a := range i.Addresses {
			all = append(all, a+" ("+i.Name+")")
		}
	}
	switch {
	case len(all) > 0:
		return portals, "address: " + strings.Join(all[:min(len(all), maxItems)], ", ")
	case len(s.Interfaces) == 0:
		return portals, "no network card was found"
	case !slices.ContainsFunc(s.Interfaces, func(i status.Interface) bool { return i.Carrier }):
		return portals, "no network cable is plugged in, or the other end is off"
	}
	return portals, "waiting for a network address"
}

// targets lists what initiators can connect to.
func targets(line func(...string), all []status.Target, portals []string) {
	if len(all) == 0 {
		line("  nothing is served: no targets are configured")
		return
	}
	if len(portals) > 0 {
		line("  iSCSI portal: ", strings.Join(portals[:min(len(portals), maxItems)], ", "))
	}
	more := bounded(len(all), func(i int) {
		t := all[i]
		switch {
		case t.Error != "":
			line("  target ", t.IQN, " is NOT SERVED")
		case !t.Serving:
			line("  target ", t.IQN, " is not served yet")
		case slices.Contains(t.Initiators, "*") && !t.CHAP:
			line("  target ", t.IQN, " (open to anyone)")
		default:
			line("  target ", t.IQN)
		}
	})
	if more > 0 {
		line(fmt.Sprintf("  and %d more targets", more))
	}
}

// missing names the disks that a pool lacks.
func missing(p status.Pool) string {
	if len(p.Missing) == 0 {
		return ""
	}
	return ": disk " + strings.Join(p.Missing, ", ") + " is missing"
}

func inForce(c status.Config) string {
	switch c.InForce {
	case "last-good":
		return " (has errors; the last version without errors is in force)"
	case "defaults":
		return "none (built-in defaults)"
	case "none":
		return " (not in force)"
	}
	return ""
}

// bounded calls f for the first items of n and returns how many are left.
func bounded(n int, f func(i int)) int {
	for i := range min(n, maxItems) {
		f(i)
	}
	return max(n-maxItems, 0)
}
