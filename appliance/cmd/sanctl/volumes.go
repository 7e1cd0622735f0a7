package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/status"
)

func volumesList() command {
	return command{
		name: "volumes", args: "[POOL ...]", max: -1,
		short: "list the volumes with what they take and who serves them",
		long: `
Lists each volume with its size, what it takes of the pool, what it was
cloned from, how many snapshots it has, and as which LUN of which target it
is served. What a volume takes is counted with what it shares with its
origin, clones and snapshots.

A volume that is kept but not in the configuration isn't served; sanctl
volume delete deletes it. What is in the trash is only counted.`,
		examples: []string{"sanctl volumes", "sanctl volumes tank", "sanctl volumes --json"},
		see:      []string{"snapshots", "volume trash", "pools"},
		run: func(ctx context.Context, c *call) error {
			s, err := c.client.Status(ctx)
			if err != nil {
				return err
			}
			pools, err := choosePools(s.Pools, c.args)
			if err != nil {
				return err
			}
			return c.print(pools, renderVolumes(pools, s.Targets))
		},
	}
}

func snapshotsList() command {
	return command{
		name: "snapshots", args: "[VOLUME ...]", max: -1,
		short: "list the snapshots of volumes",
		long: `
Lists the snapshots of all volumes, or of those that are named, with when
they were made, what they take of the pool (most of it shared with the
volume), and whether the schedule of the volume made them: it removes those
by itself.`,
		examples: []string{"sanctl snapshots", "sanctl snapshots golden"},
		see:      []string{"volume snapshot", "volume revert", "volume clone"},
		run: func(ctx context.Context, c *call) error {
			s, err := c.client.Status(ctx)
			if err != nil {
				return err
			}
			for _, name := range c.args {
				if !slices.ContainsFunc(s.Pools, func(p status.Pool) bool {
					return slices.ContainsFunc(p.Volumes, func(v status.Volume) bool { return name == v.Name || name == p.Name+"/"+v.Name })
				}) {
					return fmt.Errorf("there is no volume %s; `sanctl volumes` lists them", name)
				}
			}
			all := []status.VolumeSnapshot{}
			for _, p := range s.Pools {
				for _, x := range p.Snapshots {
					if len(c.args) == 0 || slices.Contains(c.args, x.Volume) || slices.Contains(c.args, p.Name+"/"+x.Volume) {
						all = append(all, x)
					}
				}
			}
			return c.print(all, renderSnapshots(all, s.Targets))
		},
	}
}

func volumeTrash() command {
	return command{
		name: "volume trash", args: "[POOL ...]", max: -1,
		short: "list what is in the trash, and until when",
		long: `
Lists deleted volumes and snapshots with the space that they take and when
they will be removed for good. The ID tells apart what had the same name.`,
		examples: []string{"sanctl volume trash"},
		see:      []string{"volume restore", "volume purge", "volume delete"},
		run: func(ctx context.Context, c *call) error {
			s, err := c.client.Status(ctx)
			if err != nil {
				return err
			}
			pools, err := choosePools(s.Pools, c.args)
			if err != nil {
				return err
			}
			all := []status.Trashed{}
			for _, p := range pools {
				all = append(all, p.Trash...)
			}
			return c.print(all, renderTrash(all))
		},
	}
}

// volumeOf is the volume of a snapshot.
func volumeOf(snapshot string) (string, error) {
	volume, name, ok := strings.Cut(snapshot, "@")
	if !ok || volume == "" || name == "" {
		return "", usage("%q is no snapshot; one is called as in golden@monday", snapshot)
	}
	return volume, nil
}

func renderVolumes(pools []status.Pool, targets []status.Target) string {
	var p page
	for i, pool := range pools {
		if i > 0 {
			p.line()
		}
		p.line("Pool ", pool.Name)
		var rows [][]string
		if len(pool.Volumes) > 0 {
			rows = append(rows, []string{"volume", "size", "used", "snapshots", "served as"})
		}
		for _, v := range pool.Volumes {
			n := 0
			for _, s := range pool.Snapshots {
				if s.Volume == v.Name {
					n++
				}
			}
			rows = append(rows, []string{v.Name, status.FormatBytes(v.Size), status.FormatBytes(v.Used), fmt.Sprint(n), volumeNotes(pool.Name, v, targets)})
		}
		p.table("  ", rows)
		if len(pool.Volumes) == 0 {
			p.line("  no volumes")
		}
		if n := len(pool.Trash); n > 0 {
			var held int64
			for _, t := range pool.Trash {
				held += t.Used
			}
			p.line(fmt.Sprintf("  in the trash: %d, %s; sanctl volume trash lists it", n, status.FormatBytes(held)))
		}
	}
	if len(pools) == 0 {
		p.line("no pools")
	}
	return p.text.String()
}

// volumeNotes says who serves a volume, and what else is special about it.
func volumeNotes(pool string, v status.Volume, targets []status.Target) string {
	notes := servedAs(pool, v.Name, targets)
	if len(notes) == 0 {
		notes = append(notes, "not served")
	}
	if v.From != "" {
		notes = append(notes, "clone of "+v.From)
	}
	if v.Thick {
		notes = append(notes, "thick")
	}
	if v.Cleared != nil {
		notes = append(notes, "being cleared "+percent(*v.Cleared)+" %")
	}
	if v.Block != 0 && v.Block != 512 {
		notes = append(notes, fmt.Sprintf("blocks of %d", v.Block))
	}
	if v.Unreferenced {
		notes = append(notes, "not in the configuration")
	}
	if !v.Active {
		notes = append(notes, "NOT ACTIVE")
	}
	return strings.Join(notes, ", ")
}

func servedAs(pool, name string, targets []status.Target) []string {
	var all []string
	for _, t := range targets {
		for _, l := range t.LUNs {
			if l.Pool == pool && l.Volume == name && t.Serving {
				all = append(all, fmt.Sprintf("LUN %d of %s", l.Number, t.Name))
			}
		}
	}
	return all
}

func renderSnapshots(all []status.VolumeSnapshot, targets []status.Target) string {
	var p page
	if len(all) == 0 {
		p.line("no snapshots")
	}
	rows := [][]string{{"snapshot", "made (UTC)", "size", "used", ""}}
	for _, s := range all {
		notes := servedAs(s.Pool, s.Name, targets)
		if s.Scheduled {
			notes = append(notes, "by schedule")
		}
		rows = append(rows, []string{s.Name, s.Created.UTC().Format(time.DateTime), status.FormatBytes(s.Size), status.FormatBytes(s.Used), strings.Join(notes, ", ")})
	}
	if len(all) > 0 {
		p.table("", rows)
	}
	return p.text.String()
}

func renderTrash(all []status.Trashed) string {
	var p page
	if len(all) == 0 {
		p.line("the trash is empty")
		return p.text.String()
	}
	rows := [][]string{{"name", "used", "deleted (UTC)", "kept until (UTC)", "ID"}}
	for _, t := range all {
		rows = append(rows, []string{t.Name, status.FormatBytes(t.Used), t.Deleted.UTC().Format(time.DateTime), t.Until.UTC().Format(time.DateTime), t.ID})
	}
	p.table("", rows)
	return p.text.String()
}
