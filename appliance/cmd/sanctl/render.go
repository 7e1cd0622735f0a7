package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sanstick/appliance/status"
)

// render gives the text of `sanctl status`: what matters most first.
func render(s status.Snapshot) string {
	var p page
	up := ""
	if !s.Started.IsZero() {
		up = ", up " + status.FormatDuration(s.Time.Sub(s.Started))
	}
	slot := ""
	if text := s.System.Text(); text != "" {
		slot = ", " + text
	}
	p.line(cmp.Or(s.Hostname, "(no name)"), ": sanstick ", cmp.Or(s.Version, "of unknown version"), slot, up)
	p.line("Health: ", string(cmp.Or(s.Health, status.OK)))
	problems(&p, s.Problems)
	configuration(&p, s.Config)
	stick(&p, s.Stick)
	network(&p, s.Interfaces)
	pools(&p, s.Pools, s.Disks)
	offers(&p, s.Offers)
	otherDisks(&p, s.Disks)
	targets(&p, s)
	p.line()
	p.line("Memory: ", status.FormatBytes(s.Memory.Available), " of ", status.FormatBytes(s.Memory.Total), " available")
	return p.text.String()
}

func problems(p *page, all []status.Problem) {
	if len(all) == 0 {
		return
	}
	p.heading("Problems")
	for _, pr := range all {
		what := string(pr.Health)
		if pr.Health == status.OK {
			what = "note" // the appliance does what it should
		}
		p.line("  ", what, ": ", pr.What)
		if pr.Do != "" {
			p.line("    to do: ", pr.Do)
		}
	}
}

func configuration(p *page, c status.Config) {
	state := c.InForce
	switch c.InForce {
	case "file":
		state = "in force"
	case "last-good":
		state = "has errors; the last version without errors is in force"
	case "defaults":
		state = "built-in defaults are in force"
	case "none", "":
		state = "nothing is in force"
	}
	p.heading("Configuration: " + cmp.Or(c.Path, "no file") + ", " + state)
	for _, e := range c.Errors {
		p.line("  error: ", e)
	}
	for _, w := range c.Warnings {
		p.line("  warning: ", w)
	}
}

func stick(p *page, s status.Stick) {
	if !s.Here {
		return // the problems say so
	}
	text := fmt.Sprintf("  the stick was written to %d times since the start", s.Writes)
	if s.Memory {
		text = "  there is no stick"
	}
	if len(s.Copies) > 0 {
		text += "; disks that keep a copy of it: " + strings.Join(s.Copies, ", ")
	}
	p.line(text)
}

func network(p *page, all []status.Interface) {
	p.heading("Network")
	if len(all) == 0 {
		p.line("  no network card was found")
	}
	var rows [][]string
	for _, i := range all {
		link := "link"
		if !i.Up {
			link = "down"
		} else if !i.Carrier {
			link = "no link"
		}
		address := "not configured"
		if i.Source != "" {
			address = "no address yet"
		}
		if len(i.Addresses) > 0 {
			address = strings.Join(i.Addresses, ", ")
		}
		if i.Source != "" {
			address += " (" + i.Source + ")"
		}
		if i.Error != "" {
			address += ": " + i.Error
		}
		rows = append(rows, []string{i.Name, i.MAC, cmp.Or(i.Driver, "-"), link, "mtu " + strconv.Itoa(i.MTU), address})
	}
	p.table("  ", rows)
}

func pools(p *page, all []status.Pool, disks []status.Disk) {
	p.heading("Pools")
	if len(all) == 0 {
		p.line("  none; add a [[pool]] to the configuration")
	}
	for _, pool := range all {
		first := fmt.Sprintf("  %s: %s, %s", pool.Name, pool.Layout, pool.Health)
		if pool.Layout != "single" {
			first += fmt.Sprintf(", %s %% in sync", percent(pool.Sync))
		}
		p.line(first, fmt.Sprintf(", %s used of %s, %s free, %s promised", status.FormatBytes(pool.Used),
			status.FormatBytes(pool.Size), status.FormatBytes(pool.Free), status.FormatBytes(pool.Promised)))
		if pool.Detail != "" {
			p.line("    ", pool.Detail)
		}
		if pool.State == "checking" {
			p.line("    ", "all copies are being compared, ", percent(pool.Progress), " % done")
		}
		var rows [][]string
		for _, serial := range pool.Disks {
			row := []string{"disk", serial}
			if i := slices.IndexFunc(disks, func(d status.Disk) bool { return d.Serial == serial || d.WWN == serial || "wwn-"+d.WWN == serial }); i >= 0 {
				row = append(row, diskText(disks[i]))
			}
			rows = append(rows, row)
		}
		for _, u := range pool.Unused {
			rows = append(rows, []string{"unused", u.Disk, fmt.Sprintf("%s: %s", status.FormatBytes(u.Bytes), u.Why)})
		}
		for _, serial := range pool.Missing {
			rows = append(rows, []string{"disk", serial, "MISSING"})
		}
		for _, v := range pool.Volumes {
			text := fmt.Sprintf("%s, %s used", status.FormatBytes(v.Size), status.FormatBytes(v.Used))
			if v.Cleared != nil {
				text += ", being cleared " + percent(*v.Cleared) + " %"
			}
			if !v.Active {
				text += ", NOT ACTIVE"
			}
			if v.Refused {
				text += ", WRITES ARE REFUSED"
			}
			if v.Unreferenced {
				text += ", kept but not in the configuration"
			}
			rows = append(rows, []string{"volume", v.Name, text})
		}
		p.table("    ", rows)
	}
}

// offers shows pools that are here and aren't used.
func offers(p *page, all []status.Offer) {
	if len(all) == 0 {
		return
	}
	p.heading("Pools that the configuration doesn't name (sanctl pool adopt NAME takes one in)")
	for _, o := range all {
		p.line("  ", o.Name, ": ", o.Layout, ", UUID ", o.UUID)
		var rows [][]string
		for _, d := range o.Disks {
			rows = append(rows, []string{"disk", d})
		}
		for _, d := range o.Missing {
			rows = append(rows, []string{"disk", d, "MISSING"})
		}
		for _, v := range o.Volumes {
			rows = append(rows, []string{"volume", v.Name, status.FormatBytes(v.Size)})
		}
		p.table("    ", rows)
	}
}

// percent gives up to two decimals, and never says 100 before it is.
func percent(f float64) string {
	if f < 100 {
		f = min(f, 99.99)
	}
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", f), "0"), ".")
}

func diskText(d status.Disk) string {
	parts := []string{status.FormatBytes(d.Size)}
	for _, s := range []string{d.Model, d.Transport, d.Name} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ", ")
}

func otherDisks(p *page, disks []status.Disk) {
	var rows [][]string
	for _, d := range disks {
		if !strings.HasPrefix(d.Use, "pool ") {
			rows = append(rows, []string{cmp.Or(d.Serial, d.WWN, "(no serial number)"), cmp.Or(d.Use, "unknown use"), diskText(d)})
		}
	}
	if len(rows) > 0 {
		p.heading("Other disks")
		p.table("  ", rows)
	}
}

func targets(p *page, s status.Snapshot) {
	p.heading("Targets")
	if len(s.Targets) == 0 {
		p.line("  none; add a [[target]] to the configuration")
	}
	for _, t := range s.Targets {
		state := "at " + strings.Join(t.Portals, ", ")
		switch {
		case t.Error != "":
			state = "NOT SERVED: " + t.Error
		case !t.Serving:
			state = "not served yet"
		case len(t.Portals) == 0:
			state = "served, but this machine has no address yet"
		}
		p.line("  ", t.Name, ": ", t.IQN, " ", state)
		p.line("    initiators: ", initiators(t))
		var rows [][]string
		for _, l := range t.LUNs {
			rows = append(rows, []string{"LUN " + strconv.Itoa(l.Number), l.Volume, status.FormatBytes(l.Size), cmp.Or(l.NAA, "-")})
		}
		p.table("    ", rows)
		for _, c := range t.Sessions {
			p.line("    connected: ", c.Initiator, " from ", c.Address, " for ", status.FormatDuration(s.Time.Sub(c.Since)))
		}
	}
}

func initiators(t status.Target) string {
	text := strings.Join(t.Initiators, ", ")
	switch {
	case len(t.Initiators) == 0:
		text = "nobody"
	case slices.Contains(t.Initiators, "*"):
		text = "ANYONE"
	}
	if t.CHAP {
		return text + ", with CHAP"
	}
	return text + ", without CHAP"
}
