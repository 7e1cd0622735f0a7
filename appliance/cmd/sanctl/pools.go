package main

import (
	"context"
	"fmt"
	"time"

	"sanstick/appliance/status"
)

func spaceCommands() []command {
	return []command{{
		name:  "pools",
		args:  "[POOL ...]",
		max:   -1,
		short: "how much space there is, what is promised, and when it ends",
		long: `
Shows for each pool, or for those that are named:

  size       what it has for the data of volumes. Copies count once. What
             it grows into by itself as it fills is included.
  used       what of that holds data
  free       what can still be written
  promised   the sizes of all volumes and clones together: what they may
             come to use. More than the size means that it can run out.
  snapshots, what these hold. It is the most that deleting them gives back:
  trash      what other volumes share with them stays.
  metadata   how much of the room for its own records is used. If that gets
             full no volume can take new space, so it is grown and watched
             just as space is.
  unused     what of a disk larger than others the layout can't use, and
             what would change that.
  rate       how fast used has grown lately, and when free ends if that
             goes on. It is said after ten minutes of watching at the
             earliest.

A pool that promises more than it has is watched. At 80, 90 and 95 % its
initiators are told (THIN PROVISIONING SOFT THRESHOLD REACHED, 38/07). When
it is nearly full, writes are refused volume by volume, the lowest priority
first (DATA PROTECT, SPACE ALLOCATION FAILED WRITE PROTECT, 27/07); reading
and trimming go on. As soon as there is space again, writes are taken again.`,
		examples: []string{"sanctl pools", "sanctl pools tank", "sanctl pools --json"},
		see:      []string{"status"},
		run: func(ctx context.Context, c *call) error {
			s, err := c.client.Status(ctx)
			if err != nil {
				return err
			}
			pools, err := choosePools(s.Pools, c.args)
			if err != nil {
				return err
			}
			return c.print(pools, renderPools(pools, s.Time))
		},
	}}
}

// choosePools picks pools by their names; all if there are none.
func choosePools(all []status.Pool, names []string) ([]status.Pool, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []status.Pool
	for _, name := range names {
		found := false
		for _, p := range all {
			if p.Name == name {
				chosen, found = append(chosen, p), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no pool %s in the configuration", name)
		}
	}
	return chosen, nil
}

func renderPools(all []status.Pool, now time.Time) string {
	var p page
	if len(all) == 0 {
		p.line("no pools; add a [[pool]] to the configuration")
	}
	for i, x := range all {
		if i > 0 {
			p.line()
		}
		p.line(x.Name, ": ", x.Layout, ", ", string(x.Health))
		if x.Detail != "" {
			p.line("  ", x.Detail)
		}
		if x.Size == 0 {
			continue // it isn't up
		}
		of := func(n int64) string {
			return status.FormatBytes(n) + ", " + percent(float64(n)/float64(x.Size)*100) + " %"
		}
		rows := [][]string{
			{"size", status.FormatBytes(x.Size)},
			{"used", of(x.Used)},
			{"free", of(x.Free)},
			{"promised", promised(x)},
		}
		if x.BySnapshots > 0 {
			rows = append(rows, []string{"snapshots", "up to " + status.FormatBytes(x.BySnapshots)})
		}
		if x.ByTrash > 0 {
			rows = append(rows, []string{"trash", "up to " + status.FormatBytes(x.ByTrash)})
		}
		rows = append(rows, []string{"metadata", percent(x.Metadata) + " % used"})
		if x.Rate != 0 {
			rows = append(rows, []string{"rate", outlook(x, now)})
		}
		for _, v := range x.Volumes {
			text := fmt.Sprintf("%s of %s used", status.FormatBytes(v.Used), status.FormatBytes(v.Size))
			if v.Refused {
				text += ", WRITES ARE REFUSED"
			}
			rows = append(rows, []string{"volume", v.Name + ": " + text})
		}
		for _, u := range x.Unused {
			rows = append(rows, []string{"unused", fmt.Sprintf("%s of disk %s: %s", status.FormatBytes(u.Bytes), u.Disk, u.Why)})
		}
		p.table("  ", rows)
	}
	return p.text.String()
}

func promised(p status.Pool) string {
	text := status.FormatBytes(p.Promised)
	if more := p.Promised + p.BySnapshots + p.ByTrash - p.Size; more > 0 {
		text += ", so it can run out: with snapshots and trash it is " + status.FormatBytes(more) + " more than there is"
	}
	return text
}

// outlook says how the pool fills, in the unit of time that suits it.
func outlook(p status.Pool, now time.Time) string {
	per, name := p.Rate*3600, "an hour"
	if per > -1<<20 && per < 1<<20 {
		per, name = p.Rate*86400, "a day"
	}
	text := status.FormatBytes(int64(per)) + " " + name
	switch {
	case p.Rate < 0:
		return text + ": it gets emptier"
	case p.FullAt == nil:
		return text + ": enough for years"
	}
	return text + ": full in " + status.FormatDuration(p.FullAt.Sub(now)) + " if that goes on"
}
