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

const deltaAnswer = `<superblock uuid="" time="3" transaction="6" data_block_size="128" nr_data_blocks="100">
  <diff left="1" right="2">
    <same begin="0" length="10"/>
    <different begin="10" length="3"/>
    <right_only begin="13" length="1"/>
    <left_only begin="20" length="2"/>
    <same begin="30" length="1"/>
  </diff>
</superblock>
`

func TestParseDelta(t *testing.T) {
	got, err := lvm.ParseDelta([]byte(deltaAnswer))
	const chunk = 64 << 10
	if diff := cmp.Diff([]lvm.Range{{Off: 10 * chunk, Len: 4 * chunk}, {Off: 20 * chunk, Len: 2 * chunk}}, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got)\n%s", err, diff)
	}
	got, err = lvm.ParseMapped([]byte(deltaAnswer))
	if diff := cmp.Diff([]lvm.Range{{Off: 0, Len: 10 * chunk}, {Off: 30 * chunk, Len: chunk}}, got); diff != "" || err != nil {
		t.Errorf("mapped: error %v (-want +got)\n%s", err, diff)
	}
	for _, bad := range []string{
		"", "<superblock", deltaAnswer[:len(deltaAnswer)-15],
		strings.Replace(deltaAnswer, `data_block_size="128"`, "", 1),
		strings.Replace(deltaAnswer, `begin="20"`, `begin="2"`, 1),
		strings.Replace(deltaAnswer, `begin="20"`, `begin="-1"`, 1),
		strings.Replace(deltaAnswer, `left_only`, `odd`, 1),
		strings.Replace(deltaAnswer, `length="2"`, ``, 1),
	} {
		if got, err := lvm.ParseDelta([]byte(bad)); err == nil {
			t.Errorf("taken as %v: %s", got, bad)
		}
	}
}

func FuzzParseDelta(f *testing.F) {
	f.Add([]byte(deltaAnswer))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := lvm.ParseDelta(b)
		if err != nil {
			return
		}
		last := int64(0)
		for _, r := range all {
			if r.Off < last || r.Len <= 0 {
				t.Fatalf("%+v behind %d", r, last)
			}
			last = r.Off + r.Len
		}
	})
}

func TestThinMetadata(t *testing.T) {
	r := &systest.Runner{Handle: func(c sys.Command) (sys.Output, error) {
		switch {
		case slices.Contains(c.Args, "release_metadata_snap"):
			return sys.Output{}, errors.New("there is none")
		case slices.Contains(c.Args, "table"):
			return sys.Output{Stdout: []byte("0 204800 thin 253:4 5\n")}, nil
		case strings.HasSuffix(c.Name, "thin_delta"):
			return sys.Output{Stdout: []byte(deltaAnswer)}, nil
		}
		return sys.Output{}, nil
	}}
	ctx, c := context.Background(), &lvm.Client{Runner: r}
	if err := c.ReserveMetadata(ctx, "my-tank", "thinpool"); err != nil {
		t.Error(err)
	}
	if id, err := c.ThinID(ctx, "my-tank", "vm1"); err != nil || id != 5 {
		t.Errorf("number %d, error %v", id, err)
	}
	if got, err := c.ThinDelta(ctx, "my-tank", "thinpool", 1, 2); err != nil || len(got) != 2 {
		t.Errorf("%v, error %v", got, err)
	}
	if got, err := c.ThinMapped(ctx, "my-tank", "thinpool", 5); err != nil || len(got) != 2 {
		t.Errorf("%v, error %v", got, err)
	}
	if err := c.ReleaseMetadata(ctx, "my-tank", "thinpool"); err == nil {
		t.Error("a failure is taken for success")
	}
	want := []string{
		"/sbin/dmsetup message my--tank-thinpool-tpool 0 release_metadata_snap",
		"/sbin/dmsetup message my--tank-thinpool-tpool 0 reserve_metadata_snap",
		"/sbin/dmsetup table my--tank-vm1",
		"/usr/sbin/thin_delta --metadata-snap --thin1 1 --thin2 2 /dev/mapper/my--tank-thinpool_tmeta",
		"/usr/sbin/thin_delta --metadata-snap --thin1 5 --thin2 5 /dev/mapper/my--tank-thinpool_tmeta",
		"/sbin/dmsetup message my--tank-thinpool-tpool 0 release_metadata_snap",
	}
	if diff := cmp.Diff(want, r.Commands()); diff != "" {
		t.Errorf("commands (-want +got)\n%s", diff)
	}
}
