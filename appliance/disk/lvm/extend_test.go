package lvm_test

import (
	"context"
	"errors"
	"testing"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

// CommitPool must not have --noflush.
func TestCommitPool(t *testing.T) {
	r := &systest.Runner{Handle: func(sys.Command) (sys.Output, error) { return sys.Output{}, nil }}
	if err := (&lvm.Client{Runner: r}).CommitPool(t.Context(), "ta-nk", "thinpool"); err != nil {
		t.Fatal(err)
	}
	if got := r.Commands(); len(got) != 1 || got[0] != "/sbin/dmsetup status ta--nk-thinpool-tpool" {
		t.Errorf("ran %q", got)
	}
}

func TestExtendPool(t *testing.T) {
	for _, tt := range []struct {
		name, stderr string
		do           func(*lvm.Client, context.Context, string, string, int64, ...string) error
		on           []string
		bytes        int64
		want         string // empty: refused before anything runs
		fails        bool
		noRoom       bool
	}{
		{name: "data", do: (*lvm.Client).ExtendPoolData, bytes: 4 << 20, want: "/sbin/lvm lvextend -L +4194304b tank/thinpool"},
		{name: "metadata", do: (*lvm.Client).ExtendPoolMetadata, bytes: 4 << 20, want: "/sbin/lvm lvextend --poolmetadatasize +4194304b tank/thinpool"},
		{name: "on disks", do: (*lvm.Client).ExtendPoolData, bytes: 4 << 20, on: []string{"/dev/sdc", "/dev/sdd"}, want: "/sbin/lvm lvextend -L +4194304b tank/thinpool /dev/sdc /dev/sdd"},
		{name: "on an option", do: (*lvm.Client).ExtendPoolData, bytes: 4 << 20, on: []string{"--force"}, fails: true},
		{name: "no room", do: (*lvm.Client).ExtendPoolData, bytes: 4 << 20, stderr: "  Insufficient free space: 500 extents needed, but only 2 available",
			want: "/sbin/lvm lvextend -L +4194304b tank/thinpool", fails: true, noRoom: true},
		{name: "no room on the right disks", do: (*lvm.Client).ExtendPoolData, bytes: 4 << 20, stderr: "  Insufficient suitable allocatable extents for logical volume thinpool_tdata: 3 more required",
			want: "/sbin/lvm lvextend -L +4194304b tank/thinpool", fails: true, noRoom: true},
		{name: "a disk is missing", do: (*lvm.Client).ExtendPoolData, bytes: 4 << 20, stderr: "  Cannot change VG tank while PVs are missing.",
			want: "/sbin/lvm lvextend -L +4194304b tank/thinpool", fails: true},
		{name: "shrink", do: (*lvm.Client).ExtendPoolData, bytes: -4 << 20, fails: true},
		{name: "nothing", do: (*lvm.Client).ExtendPoolMetadata, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &systest.Runner{Handle: func(sys.Command) (sys.Output, error) {
				if tt.stderr != "" {
					return sys.Output{}, &sys.ExitError{Command: "lvm", Code: 5, Stderr: tt.stderr}
				}
				return sys.Output{}, nil
			}}
			err := tt.do(&lvm.Client{Runner: r}, t.Context(), "tank", "thinpool", tt.bytes, tt.on...)
			if (err != nil) != tt.fails || errors.Is(err, lvm.ErrNoRoom) != tt.noRoom {
				t.Errorf("error %v", err)
			}
			got := ""
			if c := r.Commands(); len(c) == 1 {
				got = c[0]
			}
			if got != tt.want {
				t.Errorf("ran %q, want %q", got, tt.want)
			}
		})
	}
}
