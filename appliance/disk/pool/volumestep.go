package pool

import (
	"context"
	"fmt"

	"sanstick/appliance/disk/lvm"
)

// A volumeStep is a Step that is about one volume of a pool that is up. Should
// it fail, all else goes on.
type volumeStep interface {
	Step
	do(ctx context.Context, c *lvm.Client) error
}

// CloneVolume makes a volume that shares what From holds.
type CloneVolume struct {
	Pool, From, Volume string
	Tags               []string
}

// CreateThick makes a volume outside the thin pool: with copies, with its data on
// several disks besides those for copies or parity, or, without Kind, with one copy.
type CreateThick struct {
	Pool, Volume string
	Kind         lvm.RaidKind
	N            int // copies in a mirror, otherwise disks for data
	Size         int64
	Tags         []string
	On           []string // disks; none: any
}

// RenameVolume gives a volume another name.
type RenameVolume struct{ Pool, From, To string }

// TagVolume changes what is kept with a volume.
type TagVolume struct {
	Pool, Volume string
	Add, Remove  []string
}

// MakeSnapshot makes a snapshot that nobody can write to. Name is that in LVM.
type MakeSnapshot struct {
	Pool, Volume, Name string
	Tags               []string
}

func (CloneVolume) Risk() Risk  { return Safe }
func (CreateThick) Risk() Risk  { return Safe }
func (RenameVolume) Risk() Risk { return Safe }
func (TagVolume) Risk() Risk    { return Safe }
func (MakeSnapshot) Risk() Risk { return Safe }

func (s CloneVolume) String() string {
	return fmt.Sprintf("create volume %s in pool %s as a clone of %s", s.Volume, s.Pool, shown(s.From))
}

func (s CreateThick) String() string {
	return fmt.Sprintf("create thick volume %s in pool %s with %d bytes", s.Volume, s.Pool, s.Size)
}

func (s RenameVolume) String() string {
	return fmt.Sprintf("rename volume %s in pool %s to %s", shown(s.From), s.Pool, shown(s.To))
}

func (s TagVolume) String() string {
	return fmt.Sprintf("tag volume %s in pool %s", shown(s.Volume), s.Pool)
}

func (s MakeSnapshot) String() string {
	return fmt.Sprintf("create snapshot %s in pool %s", shown(s.Name), s.Pool)
}

func (s MakeSnapshot) do(ctx context.Context, c *lvm.Client) error {
	return c.SnapshotThin(ctx, s.Pool, s.Volume, s.Name, true, s.Tags)
}

func (s CreateVolume) do(ctx context.Context, c *lvm.Client) error {
	return c.CreateThin(ctx, s.Pool, dataVolume, s.Volume, s.Size, s.Tags...)
}

func (s GrowVolume) do(ctx context.Context, c *lvm.Client) error {
	return c.ExtendVolume(ctx, s.Pool, s.Volume, s.Size, s.On...)
}

func (s CloneVolume) do(ctx context.Context, c *lvm.Client) error {
	return c.SnapshotThin(ctx, s.Pool, s.From, s.Volume, false, s.Tags)
}

func (s CreateThick) do(ctx context.Context, c *lvm.Client) error {
	return c.CreateThick(ctx, s.Pool, s.Volume, s.Kind, s.N, s.Size, s.Tags, s.On)
}

func (s RenameVolume) do(ctx context.Context, c *lvm.Client) error {
	return c.RenameVolume(ctx, s.Pool, s.From, s.To)
}

func (s TagVolume) do(ctx context.Context, c *lvm.Client) error {
	return c.ChangeVolumeTags(ctx, s.Pool, s.Volume, s.Add, s.Remove)
}
