package lvm_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

func TestCommands(t *testing.T) {
	tests := []struct {
		name string
		do   func(ctx context.Context, c *lvm.Client) error
		want string // empty: refused before anything runs
	}{
		{"create group", func(ctx context.Context, c *lvm.Client) error {
			return c.CreateGroup(ctx, "tank", []string{"/dev/sda", "/dev/nvme0n1"}, []string{"sanstick", "sanstick.creating"})
		}, "/sbin/lvm pvcreate --bootloaderareasize 2m /dev/sda /dev/nvme0n1\n/sbin/lvm vgcreate --addtag sanstick --addtag sanstick.creating tank /dev/sda /dev/nvme0n1"},
		{"tags", func(ctx context.Context, c *lvm.Client) error {
			return c.ChangeTags(ctx, "tank", []string{"a.b"}, []string{"c"})
		}, "/sbin/lvm vgchange --addtag a.b --deltag c tank"},
		{"hidden disks", func(ctx context.Context, c *lvm.Client) error {
			if err := c.Hide([]string{"/dev/sdc", "/dev/nvme0n1"}); err != nil {
				return err
			}
			return c.ChangeTags(ctx, "tank", []string{"a"}, nil)
		}, `/sbin/lvm vgchange --config devices/filter=["r|^/dev/sdc$|","r|^/dev/nvme0n1$|","a|.*|"] --addtag a tank`},
		{"hidden nonsense", func(ctx context.Context, c *lvm.Client) error { return c.Hide([]string{"/dev/sd*|"}) }, ""},
		{"linear", func(ctx context.Context, c *lvm.Client) error {
			return c.CreateLinear(ctx, "tank", "thinpool", 100)
		}, "/sbin/lvm lvcreate --type linear -l 100 -n thinpool tank"},
		{"mirror", func(ctx context.Context, c *lvm.Client) error {
			return c.CreateMirror(ctx, "tank", "thinpool", 3, 100)
		}, "/sbin/lvm lvcreate --type raid1 -m 2 -l 100 -n thinpool tank"},
		{"mirror of one", func(ctx context.Context, c *lvm.Client) error {
			return c.CreateMirror(ctx, "tank", "thinpool", 1, 100)
		}, ""},
		{"thin pool", func(ctx context.Context, c *lvm.Client) error {
			return c.ConvertToThinPool(ctx, "tank", "thinpool", "thinmeta", 64<<10)
		}, "/sbin/lvm lvconvert --yes --type thin-pool --poolmetadata thinmeta --chunksize 65536b --poolmetadataspare n --zero y --errorwhenfull n tank/thinpool"},
		{"thin volume", func(ctx context.Context, c *lvm.Client) error {
			return c.CreateThin(ctx, "tank", "thinpool", "vm1", 1<<30)
		}, "/sbin/lvm lvcreate --type thin -V 1073741824b --thinpool thinpool -n vm1 tank"},
		{"repair thin pool", func(ctx context.Context, c *lvm.Client) error {
			return c.RepairThinPool(ctx, "tank", "thinpool")
		}, "/sbin/lvm lvconvert --yes --repair --poolmetadataspare n tank/thinpool"},
		{"mirror what is there", func(ctx context.Context, c *lvm.Client) error {
			return c.MirrorVolume(ctx, "tank", "thinpool_tmeta", 3)
		}, "/sbin/lvm lvconvert --yes --type raid1 -m 2 tank/thinpool_tmeta"},
		{"refresh group", func(ctx context.Context, c *lvm.Client) error {
			return c.RefreshGroup(ctx, "tank")
		}, "/sbin/lvm vgchange --refresh tank"},
		{"resume", func(ctx context.Context, c *lvm.Client) error {
			return c.Resume(ctx, "tank-vm--1")
		}, "/sbin/dmsetup clear tank-vm--1\n/sbin/dmsetup resume tank-vm--1"},
		{"resume nonsense", func(ctx context.Context, c *lvm.Client) error { return c.Resume(ctx, "--all") }, ""},
		{"mirror of one that is there", func(ctx context.Context, c *lvm.Client) error {
			return c.MirrorVolume(ctx, "tank", "thinpool_tmeta", 1)
		}, ""},
		{"rename group", func(ctx context.Context, c *lvm.Client) error {
			return c.RenameGroup(ctx, "Xa1b2c-uuid", "attic")
		}, "/sbin/lvm vgrename Xa1b2c-uuid attic"},
		{"grow", func(ctx context.Context, c *lvm.Client) error {
			return c.ExtendVolume(ctx, "tank", "vm1", 2<<30)
		}, "/sbin/lvm lvextend -L 2147483648b tank/vm1"},
		{"activate", func(ctx context.Context, c *lvm.Client) error {
			return c.Activate(ctx, "tank", lvm.Degraded)
		}, "/sbin/lvm vgchange -ay --activationmode degraded tank"},
		{"deactivate", func(ctx context.Context, c *lvm.Client) error {
			return c.DeactivateTagged(ctx, "sanstick")
		}, "/sbin/lvm vgchange -an @sanstick"},
		{"remove unfinished", func(ctx context.Context, c *lvm.Client) error {
			return c.RemoveUnfinished(ctx, "tank", "sanstick.creating")
		}, "/sbin/lvm lvremove --yes --select vg_tags={sanstick.creating} tank"},

		{"option as a group", func(ctx context.Context, c *lvm.Client) error {
			return c.RemoveUnfinished(ctx, "-ff", "sanstick.creating")
		}, ""},
		{"no group", func(ctx context.Context, c *lvm.Client) error {
			return c.RemoveUnfinished(ctx, "", "sanstick.creating")
		}, ""},
		{"selection as a tag", func(ctx context.Context, c *lvm.Client) error {
			return c.RemoveUnfinished(ctx, "tank", "a}||vg_name=~{.*")
		}, ""},
		{"path as a name", func(ctx context.Context, c *lvm.Client) error {
			return c.ExtendVolume(ctx, "tank", "a/b", 1)
		}, ""},
		{"option as a disk", func(ctx context.Context, c *lvm.Client) error {
			return c.CreateGroup(ctx, "tank", []string{"-ff"}, nil)
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var env []string
			r := &systest.Runner{Handle: func(c sys.Command) (sys.Output, error) {
				env = c.Env
				return sys.Output{}, nil
			}}
			err := tt.do(t.Context(), &lvm.Client{Runner: r})
			if (err != nil) != (tt.want == "") {
				t.Errorf("error = %v", err)
			}
			var want []string
			if tt.want != "" {
				want = strings.Split(tt.want, "\n")
				if !slices.Contains(env, "DM_DISABLE_UDEV=1") || !slices.Contains(env, "LC_ALL=C") {
					t.Errorf("environment %v", env)
				}
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

func unquote(s string) string {
	var b []byte
	for i := range len(s) {
		if s[i] != '\'' {
			b = append(b, s[i])
		}
	}
	return string(b)
}

func TestPartialError(t *testing.T) {
	for code, want := range map[int]bool{1: false, 3: false, 5: true} {
		r := &systest.Runner{Handle: func(sys.Command) (sys.Output, error) {
			return sys.Output{}, &sys.ExitError{Command: "lvm", Code: code, Stderr: "why"}
		}}
		err := (&lvm.Client{Runner: r}).Activate(t.Context(), "tank", lvm.Degraded)
		var partial *lvm.PartialError
		if errors.As(err, &partial) != want {
			t.Errorf("exit code %d: error %v, partial should be %v", code, err, want)
		}
		var exit *sys.ExitError
		if !errors.As(err, &exit) || exit.Stderr != "why" {
			t.Errorf("exit code %d: error %v has lost its cause", code, err)
		}
	}
}

// deadlines fails commands that could run for ever.
type deadlines struct{ t *testing.T }

func (d deadlines) Run(ctx context.Context, c sys.Command) (sys.Output, error) {
	if _, ok := ctx.Deadline(); !ok {
		d.t.Errorf("%s may run for ever", c)
	}
	return sys.Output{Stdout: []byte(`{}`)}, nil
}

func TestTimeLimits(t *testing.T) {
	c := &lvm.Client{Runner: deadlines{t}}
	if _, err := c.State(context.Background()); err != nil {
		t.Error(err)
	}
	if err := c.Activate(context.Background(), "tank", lvm.Degraded); err != nil {
		t.Error(err)
	}
	_, _ = c.Devices(context.Background())
}
