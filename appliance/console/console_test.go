package console

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/status"
)

var update = flag.Bool("update", false, "write the golden files")

func healthy() status.Snapshot {
	return status.Snapshot{
		Hostname: "attic", Version: "0.1.0", Health: status.OK,
		Config: status.Config{Path: "/stick/appliance.toml", InForce: "file"},
		Interfaces: []status.Interface{
			{Name: "eth0", Up: true, Carrier: true, Addresses: []string{"10.0.2.15/24", "fd00::15/64"}, Source: "dhcp"}},
		Pools: []status.Pool{{Name: "tank", Health: status.OK, Disks: []string{"WD-A", "WD-B"}}},
		Targets: []status.Target{
			{Name: "demo", IQN: "iqn.2006-12.local.attic:demo", Portals: []string{"10.0.2.15:3260"}, Serving: true, Initiators: []string{"*"}},
			{Name: "vm1", IQN: "iqn.2006-12.local.attic:vm1", Portals: []string{"10.0.2.15:3260"}, Serving: true, Initiators: []string{"iqn.1998-01.com.vmware:esx1"}},
		},
	}
}

func TestBanner(t *testing.T) {
	degraded := healthy()
	degraded.Health = status.Degraded
	degraded.Pools = []status.Pool{{Name: "tank", Health: status.Degraded, Disks: []string{"WD-A"}, Missing: []string{"WD-B"}}}
	degraded.Problems = []status.Problem{{Health: status.Degraded, What: "pool tank: disk WD-B is missing", Do: "check its cable, or replace it"}}

	badConfig := status.Snapshot{
		Hostname: "sanstick", Version: "0.1.0", Health: status.Failed,
		Config:     status.Config{Path: "/stick/appliance.toml", InForce: "none"},
		Interfaces: []status.Interface{{Name: "eth0", Up: true, Carrier: true}},
	}
	for i := range 9 {
		badConfig.Problems = append(badConfig.Problems, status.Problem{Health: status.Failed,
			What: fmt.Sprintf("appliance.toml:%d: pool.layout: \"raid\x1b[9\" is not a layout", 10+i), Do: "correct the line"})
	}

	broken := healthy()
	broken.Health = status.Failed
	broken.Interfaces[0].Addresses, broken.Interfaces[0].Carrier = nil, false
	broken.Config.InForce = "last-good"
	broken.Targets[0].Serving, broken.Targets[0].Error = false, "pool tank is not here"
	broken.Targets[1].Serving = false
	broken.Targets[0].Portals, broken.Targets[1].Portals = nil, nil

	for name, s := range map[string]status.Snapshot{"healthy": healthy(), "degraded": degraded, "bad-config": badConfig, "broken": broken, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			got := Banner(s)
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("banner (-want +got; go test -update writes it anew):\n%s", diff)
			}
			if n := strings.Count(got, "\n"); n > 25 {
				t.Errorf("banner has %d lines, more than a screen", n)
			}
		})
	}
}

// Two banners of the same machine at two moments are the same.
func TestBannerIsStable(t *testing.T) {
	a, b := healthy(), healthy()
	b.Time, b.Memory.Available, b.Pools[0].Used = time.Now(), 1, 1
	b.Targets[0].Sessions = []status.Session{{Initiator: "x"}}
	if diff := cmp.Diff(Banner(a), Banner(b)); diff != "" {
		t.Errorf("banner (-first +second):\n%s", diff)
	}
}
