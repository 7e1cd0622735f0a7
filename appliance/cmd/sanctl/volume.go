package main

import (
	"context"
	"flag"
	"fmt"

	"sanstick/appliance/api"
)

func volumeCommands() []command {
	return []command{
		volumesList(), snapshotsList(), volumeSnapshot(), volumeClone(), volumeRevert(), volumePromote(),
		volumeRename(), volumeDelete(), volumeTrash(), volumeRestore(), volumePurge(),
	}
}

// whole is a part of many pages.
const whole = `Refused while a disk of the pool is missing: connect it, or wait until
another takes its place or the pool has given it up (spare_after).`

func volumeSnapshot() command {
	return command{
		name: "volume snapshot", args: "VOLUME [NAME]", min: 1, max: 2,
		short: "keep what a volume holds now",
		long: `
Makes a snapshot, called VOLUME@NAME; without NAME it is called by the time
in UTC, as in golden@2026-11-29T17-05. It takes a moment whatever the size,
and space only for what is written to the volume afterwards.

It holds every write that was acknowledged until then. What a machine has in
its memory isn't in it: a file system in a snapshot is as after a power cut,
and journalled ones repair themselves when they are mounted. To have more
than that, shut the machine down, or freeze its file systems, before.

A snapshot never changes. It can be cloned, the volume can be reverted to
it, and a target can serve it read-only: volumes = ["golden@monday"].
Snapshots at regular times are made by the key snapshot of the [[volume]]:
snapshot = { every = "1h", keep = 24 }.

Only thin volumes have snapshots.

` + whole,
		examples: []string{"sanctl volume snapshot golden", "sanctl volume snapshot golden monday"},
		see:      []string{"snapshots", "volume clone", "volume revert"},
		run: func(ctx context.Context, c *call) error {
			q := api.SnapshotVolumeRequest{Volume: c.args[0]}
			if len(c.args) == 2 {
				q.Name = c.args[1]
			}
			a, err := api.SnapshotVolume.Call(ctx, c.client, q, c.showProgress)
			if err != nil {
				return err
			}
			return c.print(a, a.Name+"\n")
		},
	}
}

func volumeClone() command {
	return command{
		name: "volume clone", args: "FROM NAME", min: 2, max: 2,
		short: "make a volume that holds what another one holds",
		long: `
FROM is a snapshot, as in golden@monday, or a volume, as in golden, which
stands for what it holds at this moment. The clone takes a moment whatever
the size, and space only for what is written later. It is a volume of its
own, with an identity of its own: FROM may change or be deleted.

To have the clone served, add a [[volume]] of that name with from = "FROM",
and a [[target]], to the configuration, and do sanctl config apply. The
[[volume]] alone makes the clone, too, so this verb isn't needed for that.

Thick volumes can't be cloned.

` + whole,
		examples: []string{"sanctl volume clone golden@monday vm7", "sanctl volume clone golden vm8"},
		see:      []string{"volume snapshot", "volume promote", "config apply"},
		run: func(ctx context.Context, c *call) error {
			a, err := api.CloneVolume.Call(ctx, c.client, api.CloneVolumeRequest{From: c.args[0], Name: c.args[1]}, c.showProgress)
			if err != nil {
				return err
			}
			return c.print(a, "volume "+a.Name+" is there; add it to the configuration to have it served\n")
		},
	}
}

func volumeRevert() command {
	var q api.RevertVolumeRequest
	var yes bool
	return command{
		name: "volume revert", args: "SNAPSHOT", min: 1, max: 1,
		short: "make a volume hold again what its snapshot holds",
		long: `
golden@monday makes volume golden hold what it held when the snapshot was
made. What it holds now is kept as another snapshot, golden@before-TIME, so
that this can be undone in the same way; delete that when it isn't needed.
The size stays as it is.

For its initiators it is the same disk: the identity and the number of the
LUN don't change. So none may be using it: while one is logged in to a
target that serves the volume, this is refused and names it. --force takes
the volume from under them. What they hadn't written is lost, and what they
remember of the disk is wrong: restart them.

A power cut in between leads to the one or to the other, never to a mixture.

It asks for the name of the volume, unless --yes is given.

` + whole,
		options: func(f *flag.FlagSet) {
			f.BoolVar(&yes, "yes", false, "don't ask")
			f.BoolVar(&q.Force, "force", false, "although initiators are logged in")
		},
		examples: []string{"sanctl volume revert golden@monday", "sanctl volume revert --yes golden@2026-11-29T17-05"},
		see:      []string{"volume snapshot", "snapshots", "volume promote"},
		run: func(ctx context.Context, c *call) error {
			q.Snapshot = c.args[0]
			volume, err := volumeOf(q.Snapshot)
			if err != nil {
				return err
			}
			if err := c.confirm(yes, fmt.Sprintf("Volume %s will hold what %s holds. What it holds now is kept as a snapshot.", volume, q.Snapshot), volume); err != nil {
				return err
			}
			a, err := api.RevertVolume.Call(ctx, c.client, q, c.showProgress)
			if err != nil {
				return err
			}
			c.endProgress()
			return c.print(a, fmt.Sprintf("volume %s holds what %s holds; what it was before is %s\n", volume, q.Snapshot, a.Kept))
		},
	}
}

func volumePromote() command {
	var q api.PromoteVolumeRequest
	var yes bool
	return command{
		name: "volume promote", args: "CLONE VOLUME", min: 2, max: 2,
		short: "make a clone the next version of a volume",
		long: `
Makes VOLUME hold what CLONE holds at this moment: clone golden, change the
clone, promote it. From then on clones of golden have the changes. CLONE
itself goes on as it is; delete it if it isn't needed.

What VOLUME held before is kept as a snapshot, golden@before-TIME. VOLUME
keeps its identity, its LUN numbers and its snapshots; CLONE keeps its own.
If CLONE is larger, VOLUME gets its size. Both must be thin, in the same
pool, and have the same block size.

As with a revert, no initiator may be using VOLUME, and --force takes it
from under them. CLONE may be in use: then what is taken is as after a power
cut, so shut down what writes to it if you can.

It asks for the name of VOLUME, unless --yes is given.

` + whole,
		options: func(f *flag.FlagSet) {
			f.BoolVar(&yes, "yes", false, "don't ask")
			f.BoolVar(&q.Force, "force", false, "although initiators are logged in to VOLUME")
		},
		examples: []string{"sanctl volume promote golden-next golden"},
		see:      []string{"volume clone", "volume revert"},
		run: func(ctx context.Context, c *call) error {
			q.Clone, q.Volume = c.args[0], c.args[1]
			if err := c.confirm(yes, fmt.Sprintf("Volume %s will hold what %s holds. What it holds now is kept as a snapshot.", q.Volume, q.Clone), q.Volume); err != nil {
				return err
			}
			a, err := api.PromoteVolume.Call(ctx, c.client, q, c.showProgress)
			if err != nil {
				return err
			}
			c.endProgress()
			return c.print(a, fmt.Sprintf("volume %s holds what %s holds; what it was before is %s\n", q.Volume, q.Clone, a.Kept))
		},
	}
}

func volumeRename() command {
	return command{
		name: "volume rename", args: "OLD NEW", min: 2, max: 2,
		short: "give a volume another name",
		long: `
The volume keeps its identity and its LUN numbers, and goes on being served:
its initiators notice nothing. Its snapshots get the new name, too.

Do this first, then write the new name in place of the old one in the
configuration, in [[volume]] and [[target]], and do sanctl config apply.
Until then the status says that the names differ, and no volume is made
under the old name. The other way round, a new and empty volume would be
made under the new name.

` + whole,
		examples: []string{"sanctl volume rename vm1 webserver"},
		see:      []string{"config apply", "volumes"},
		run: func(ctx context.Context, c *call) error {
			a, err := api.RenameVolume.Call(ctx, c.client, api.RenameVolumeRequest{Old: c.args[0], New: c.args[1]}, c.showProgress)
			if err != nil {
				return err
			}
			return c.print(a, fmt.Sprintf("volume %s is called %s; change the configuration, too\n", c.args[0], a.Name))
		},
	}
}

func volumeDelete() command {
	var q api.DeleteVolumeRequest
	var yes bool
	return command{
		name: "volume delete", args: "NAME", min: 1, max: 1,
		short: "put a volume or a snapshot into the trash",
		long: `
NAME is a volume that isn't in the configuration any more, or a snapshot.
A volume that is still in it, or is served, is refused: take it out of
[[volume]] and [[target]] and do sanctl config apply first. A volume that
has snapshots is refused, too, unless --snapshots deletes them with it.

What is in the trash takes the same space as before, and can be restored
for seven days (trash in the configuration); then it is removed for good.
Clones are volumes of their own and aren't touched.

It asks for the name, unless --yes is given.

` + whole,
		options: func(f *flag.FlagSet) {
			f.BoolVar(&yes, "yes", false, "don't ask")
			f.BoolVar(&q.Snapshots, "snapshots", false, "also the volume's snapshots")
		},
		examples: []string{"sanctl volume delete vm1", "sanctl volume delete golden@monday"},
		see:      []string{"volume trash", "volume restore", "volume purge"},
		run: func(ctx context.Context, c *call) error {
			q.Name = c.args[0]
			if err := c.confirm(yes, fmt.Sprintf("%s will be put into the trash, and removed for good later.", q.Name), q.Name); err != nil {
				return err
			}
			a, err := api.DeleteVolume.Call(ctx, c.client, q, c.showProgress)
			if err != nil {
				return err
			}
			return c.print(a, fmt.Sprintf("%s is in the trash; sanctl volume restore %s brings it back\n", a.Name, a.Name))
		},
	}
}

func volumeRestore() command {
	var q api.RestoreVolumeRequest
	return command{
		name: "volume restore", args: "NAME", min: 1, max: 1,
		short: "take a volume or a snapshot out of the trash",
		long: `
It is as it was, with the same identity. NAME is what it was called, or its
ID in the trash if there are several of that name. It comes back under the
name that it had; if that is taken, --as gives it another.

To have it served, put it into the configuration again and do sanctl config
apply.

` + whole,
		options: func(f *flag.FlagSet) {
			f.StringVar(&q.As, "as", "", "the `name` that it gets")
		},
		examples: []string{"sanctl volume restore vm1", "sanctl volume restore --as vm1-old vm1"},
		see:      []string{"volume trash", "volume delete"},
		run: func(ctx context.Context, c *call) error {
			q.Name = c.args[0]
			a, err := api.RestoreVolume.Call(ctx, c.client, q, c.showProgress)
			if err != nil {
				return err
			}
			return c.print(a, fmt.Sprintf("%s is back\n", a.Name))
		},
	}
}

func volumePurge() command {
	var yes bool
	return command{
		name: "volume purge", args: "NAME", min: 1, max: 1,
		short: "remove for good what is in the trash",
		long: `
Gives the space of a deleted volume or snapshot back at once. NAME is what
it was called, or its ID in the trash if there are several of that name.
Nothing brings it back afterwards. What isn't in the trash can't be purged.

It asks for the name, unless --yes is given.

` + whole,
		options:  func(f *flag.FlagSet) { f.BoolVar(&yes, "yes", false, "don't ask") },
		examples: []string{"sanctl volume purge vm1"},
		see:      []string{"volume trash", "volume delete"},
		run: func(ctx context.Context, c *call) error {
			name := c.args[0]
			if err := c.confirm(yes, fmt.Sprintf("What %s held will be lost for good.", name), name); err != nil {
				return err
			}
			a, err := api.PurgeVolume.Call(ctx, c.client, api.PurgeVolumeRequest{Name: name}, c.showProgress)
			if err != nil {
				return err
			}
			return c.print(a, fmt.Sprintf("%s is gone\n", a.Name))
		},
	}
}
