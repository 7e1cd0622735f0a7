package lvm

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

func TestRemoveStandIns(t *testing.T) {
	const all = `ta--nk-vm1 0
ta--nk-thinpool_tmeta_rimage_0-missing_0_0 0
ta--nk-thinpool_tdata_rimage_0-missing_0_0 1
ta--nk-thinpool_tdata_rimage_1-missing_1_0 0
ta--nk-x--missing_0_0 0
other-thinpool_tdata_rimage_0-missing_0_0 0
`
	r := &systest.Runner{Handle: func(c sys.Command) (sys.Output, error) {
		if c.Args[0] == "info" {
			return sys.Output{Stdout: []byte(all)}, nil
		}
		return sys.Output{}, nil
	}}
	if err := (&Client{Runner: r}).RemoveStandIns(t.Context(), "ta-nk"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/sbin/dmsetup info -c --noheadings --separator ' ' -o name,open",
		"/sbin/dmsetup remove ta--nk-thinpool_tmeta_rimage_0-missing_0_0",
		"/sbin/dmsetup remove ta--nk-thinpool_tdata_rimage_1-missing_1_0",
	}
	if diff := cmp.Diff(want, r.Commands()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}
