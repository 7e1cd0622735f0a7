package pool

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// writable tells whether a logical volume takes space of the thin pool and can
// be written to: it is neither a snapshot nor in the trash.
func writable(v lvm.LogicalVolume) bool { return kindOf(v) == volume && isThin(v) }

// capacity tells how much a pool has, what is left of it, what is promised, and
// who holds it.
func (v view) capacity(p *status.Pool, s Spec, g lvm.Group, note func(status.Health, string, string)) {
	for _, x := range p.Snapshots {
		p.BySnapshots += x.Used
	}
	for _, x := range p.Trash {
		p.ByTrash += x.Used
	}
	f, ok := v.space(s, v.at)
	if !ok {
		return // which is said elsewhere
	}
	room := roomToGrow(g, v.devices)
	seen := v.seen[s.Name]
	p.Size, p.Used = f.data.total+f.room, f.data.used
	p.Free, p.Room = p.Size-p.Used, f.room
	p.Metadata = float64(f.meta.used) / float64(max(f.meta.total, 1)) * 100
	p.Rate = seen.perSecond
	if !seen.end.IsZero() {
		end := seen.end
		p.FullAt = &end
	}
	for i := range p.Volumes {
		p.Volumes[i].Refused = slices.Contains(seen.refused, p.Volumes[i].Name)
	}
	v.spaceProblems(p, f, room, seen, moreDisks(g), note)
}

// spaceProblems says what a person should know about a pool's space.
func (v view) spaceProblems(p *status.Pool, f spaceFacts, room growth, seen spaceView, more string, note func(status.Health, string, string)) {
	do := whatToDo(*p, more)
	dataFull, metaFull := f.dataLevel(), f.meta.percent(f.metaRoom)
	left := fmt.Sprintf("%s of %s is left", status.FormatBytes(p.Free), status.FormatBytes(p.Size))
	if metaFull > dataFull {
		left = fmt.Sprintf("%d %% of its room for metadata is used", metaFull)
	}
	if len(seen.refused) > 0 {
		word := "volume"
		if len(seen.refused) > 1 {
			word = "volumes"
		}
		note(status.Failed, fmt.Sprintf("writes to %s %s are refused, because only %s; reading goes on", word, strings.Join(seen.refused, ", "), left), do)
	}
	tail := ""
	if room.why != "" {
		tail = "; it can't grow: " + room.why
	}
	if seen.failed != "" {
		note(status.Degraded, "can't be grown: "+seen.failed, "see the log; it is tried again")
	}
	switch {
	case dataFull >= spaceLevels[0]:
		note(status.Degraded, fmt.Sprintf("%d %% of its space is used, %s%s", dataFull, left, tail), do)
	case metaFull >= spaceLevels[0]:
		note(status.Degraded, left+tail, do)
	}
	if p.FullAt != nil && p.FullAt.Sub(v.at) < soon && dataFull >= growAt/2 {
		note(status.Degraded, fmt.Sprintf("is full in %s at the present rate of %s an hour", status.FormatDuration(p.FullAt.Sub(v.at)), status.FormatBytes(int64(p.Rate*3600))), do)
	}
}

// moreDisks says which disks give a pool more space.
func moreDisks(g lvm.Group) string {
	_, legs, _ := layoutIn(g)
	switch {
	case legs == 2 && len(g.Physical) == 2:
		return "add two disks to the pool (one makes a third copy), or replace each of its disks by a larger one"
	case legs > 1:
		return fmt.Sprintf("add %d disks to the pool", legs)
	}
	return "add disks to the pool"
}

// whatToDo names the ways to more space, those that cost nothing first. more is which
// disks would help.
func whatToDo(p status.Pool, more string) string {
	var ways []string
	if p.ByTrash > 0 {
		ways = append(ways, fmt.Sprintf("empty the trash (it holds up to %s)", status.FormatBytes(p.ByTrash)))
	}
	if p.BySnapshots > 0 {
		ways = append(ways, fmt.Sprintf("delete snapshots (they hold up to %s)", status.FormatBytes(p.BySnapshots)))
	}
	ways = append(ways, "delete data in the volumes' filesystems and trim them", more)
	return strings.Join(ways, ", or ")
}

// soon is how near the end of a pool's space must be to be a problem.
const soon = 7 * 24 * time.Hour
