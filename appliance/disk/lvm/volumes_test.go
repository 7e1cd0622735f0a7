package lvm_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

func TestVolumeCommands(t *testing.T) {
	const uuid = "SbffqW-RJk0-zJ1N-VwOp-iZm6-eNBL-mO8OF1"
	type do func(ctx context.Context, c *lvm.Client) error
	remove := func(group, uuid, tag string) do {
		return func(ctx context.Context, c *lvm.Client) error { return c.RemoveTrashed(ctx, group, uuid, tag) }
	}
	tests := []struct {
		name string
		do   do
		want string // empty: refused before anything runs
	}{
		{"snapshot", func(ctx context.Context, c *lvm.Client) error {
			return c.SnapshotThin(ctx, "tank", "golden", "golden+monday", true, []string{"sanstick.created.1"})
		}, "/sbin/lvm lvcreate --snapshot --setactivationskip n --permission r --addtag sanstick.created.1 -n golden+monday tank/golden"},
		{"clone", func(ctx context.Context, c *lvm.Client) error {
			return c.SnapshotThin(ctx, "tank", "golden+monday", "vm1", false, nil)
		}, "/sbin/lvm lvcreate --snapshot --setactivationskip n -n vm1 tank/golden+monday"},
		{"thin with tags", func(ctx context.Context, c *lvm.Client) error {
			return c.CreateThin(ctx, "tank", "thinpool", "vm1", 1<<30, "sanstick.block.4096")
		}, "/sbin/lvm lvcreate --type thin -V 1073741824b --thinpool thinpool --addtag sanstick.block.4096 -n vm1 tank"},
		{"thick mirror", func(ctx context.Context, c *lvm.Client) error {
			return c.CreateThick(ctx, "tank", "vm1", lvm.Raid1, 2, 1<<30, []string{"sanstick.thick"}, nil)
		}, "/sbin/lvm lvcreate --type raid1 -m 1 --wipesignatures n -L 1073741824b --addtag sanstick.thick -n vm1 tank"},
		{"thick with one copy", func(ctx context.Context, c *lvm.Client) error {
			return c.CreateThick(ctx, "tank", "vm1", "", 1, 1<<30, nil, nil)
		}, "/sbin/lvm lvcreate --type linear --wipesignatures n -L 1073741824b -n vm1 tank"},
		{"thick raid10", func(ctx context.Context, c *lvm.Client) error {
			return c.CreateThick(ctx, "tank", "vm1", lvm.Raid10, 2, 1<<30, nil, []string{"/dev/sda", "/dev/sdb"})
		}, "/sbin/lvm lvcreate --type raid10 -i 2 -m 1 --wipesignatures n -L 1073741824b -n vm1 tank /dev/sda /dev/sdb"},
		{"thick raid6", func(ctx context.Context, c *lvm.Client) error {
			return c.CreateThick(ctx, "tank", "vm1", lvm.Raid6, 3, 3<<30, nil, nil)
		}, "/sbin/lvm lvcreate --type raid6 -i 3 --wipesignatures n -L 3221225472b -n vm1 tank"},
		{"thick raid1 of one", func(ctx context.Context, c *lvm.Client) error {
			return c.CreateThick(ctx, "tank", "vm1", lvm.Raid1, 1, 1<<30, nil, nil)
		}, ""},
		{"rename", func(ctx context.Context, c *lvm.Client) error {
			return c.RenameVolume(ctx, "tank", "vm1", "vm2")
		}, "/sbin/lvm lvrename tank vm1 vm2"},
		{"tags", func(ctx context.Context, c *lvm.Client) error {
			return c.ChangeVolumeTags(ctx, "tank", "vm1", []string{"a"}, []string{"b", "c"})
		}, "/sbin/lvm lvchange --addtag a --deltag b --deltag c tank/vm1"},
		{"activate", func(ctx context.Context, c *lvm.Client) error { return c.ActivateVolume(ctx, "tank", "vm1") }, "/sbin/lvm lvchange -ay tank/vm1"},
		{"deactivate", func(ctx context.Context, c *lvm.Client) error { return c.DeactivateVolume(ctx, "tank", "vm1") }, "/sbin/lvm lvchange -an tank/vm1"},
		{"remove", remove("tank", uuid, "sanstick.trashed.5"),
			"/sbin/lvm lvremove --yes --select lv_uuid=" + uuid + " && lv_tags={sanstick.trashed.5} tank"},

		// What must not get through to lvremove.
		{"remove with another tag", remove("tank", uuid, "sanstick"), ""},
		{"remove with a bare tag", remove("tank", uuid, lvm.TrashTag), ""},
		{"remove with no tag", remove("tank", uuid, ""), ""},
		{"remove with a tag that ends the selection", remove("tank", uuid, "sanstick.trashed.5}||lv_name=~{."), ""},
		{"remove with a tag of two words", remove("tank", uuid, "sanstick.trashed.5 || lv_size>0"), ""},
		{"remove by name", remove("tank", "golden", "sanstick.trashed.5"), ""},
		{"remove with no UUID", remove("tank", "", "sanstick.trashed.5"), ""},
		{"remove with an alternative", remove("tank", uuid+" || lv_size>0", "sanstick.trashed.5"), ""},
		{"remove with a line more", remove("tank", uuid+"\n", "sanstick.trashed.5"), ""},
		{"remove from a volume", remove("tank/golden", uuid, "sanstick.trashed.5"), ""},
		{"remove with an option", remove("-ff", uuid, "sanstick.trashed.5"), ""},
		{"remove from nothing", remove("", uuid, "sanstick.trashed.5"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &systest.Runner{}
			err := tt.do(t.Context(), &lvm.Client{Runner: r})
			if (err != nil) != (tt.want == "") {
				t.Errorf("error = %v", err)
			}
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			got := r.Commands()
			for i := range got { // quoting is for people
				got[i] = unquote(got[i])
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
		})
	}
}

// A device that goes while dmsetup lists them makes it fail; that passes.
func TestDevicesWhileOneGoes(t *testing.T) {
	for _, tt := range []struct {
		failures int
		stderr   string
		ok       bool
	}{{2, "Device does not exist.\nCommand failed.", true}, {1, "device-mapper: table ioctl on tank-golden failed: No such device or address\nCommand failed.", true}, {9, "Device does not exist.", false}, {1, "Permission denied", false}} {
		calls := 0
		r := &systest.Runner{Handle: func(sys.Command) (sys.Output, error) {
			if calls++; calls <= tt.failures {
				return sys.Output{}, &sys.ExitError{Command: "dmsetup", Code: 1, Stderr: tt.stderr}
			}
			return sys.Output{Stdout: []byte("tank-golden: 0 204800 thin 40960 40959\n")}, nil
		}}
		got, err := (&lvm.Client{Runner: r}).Devices(t.Context())
		if (err == nil) != tt.ok || tt.ok && len(got) != 1 {
			t.Errorf("%+v: %v, %v", tt, got, err)
		}
	}
}
