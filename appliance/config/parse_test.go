package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var cmpNet = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func TestParseReference(t *testing.T) {
	got, err := Parse("reference.toml", Reference())
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Version:  1,
		Hostname: "attic.example.com",
		Trash:    7 * 24 * time.Hour,
		Interfaces: []Interface{{
			Match:     Match{MAC: "52:54:00:12:34:56", Name: "eth0", Driver: "e1000e"},
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.10/24"), netip.MustParsePrefix("fd00::10/64")},
			Gateway:   netip.MustParseAddr("10.0.0.1"),
			MTU:       9000,
		}, {
			Match: Match{Driver: "igb"}, DHCP: true,
		}},
		Pools: []Pool{{Name: "tank", Disks: []string{"WD-WCC4E1234567", "wwn-0x5000c500a1b2c3d4"}, Layout: LayoutMirror, Spares: []string{"S3Z8NB0K123456"}, SpareAfter: DefaultSpareAfter, ScrubEvery: DefaultScrubEvery}},
		Volumes: []Volume{
			{Name: "golden", Pool: "tank", Size: 64 << 30, Block: 512, Priority: 7, Snapshot: Schedule{Every: time.Hour, Keep: 24}},
			{Name: "vm1", Pool: "tank", From: "golden", Priority: 5},
			{Name: "database", Pool: "tank", Size: 100 << 30, Thick: true, Priority: 5},
			{Name: "vmfs", Pool: "tank", Size: 3 << 39, Priority: 5},
		},
		Targets: []Target{{
			Name: "vm1", IQN: "iqn.2006-12.com.example.storage:vm1", Volumes: []string{"vm1", "golden@monday"},
			Initiators: []string{"iqn.1998-01.com.vmware:esx1", "iqn.1993-08.org.debian:01:abcdef"},
			CHAP:       &CHAP{User: "esx1", Secret: "correct horse battery"},
			Limit:      Limit{IOPS: 2000, MBps: 100},
		}, {
			Name: "vmfs", IQN: "iqn.2006-12.com.example.attic:vmfs", Volumes: []string{"vmfs", "database"},
			Initiators: []string{"iqn.1998-01.com.vmware:esx1"},
		}},
	}
	if diff := cmp.Diff(want, got, cmpNet); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if w := got.Warnings(); len(w) != 0 {
		t.Errorf("warnings: %q", w)
	}
}

// The reference shows every key of every table.
func TestReferenceIsComplete(t *testing.T) {
	pos := scanPositions(string(Reference()))
	for _, table := range []string{tableTop, tableInterface, tableMatch, tablePool, tableScrub, tableVolume, tableSnapshot, tableTarget, tableCHAP, tableLimit} {
		first, rest, nested := strings.Cut(table, ".")
		path := table
		if table != tableTop {
			path = joinIndex(first, 0)
		}
		if nested {
			path = joinKey(path, rest)
		}
		for _, key := range keysOf(table) {
			shown := pos.lines[joinKey(path, key)] != 0
			for i := range 4 { // of the volumes none has all
				shown = shown || pos.lines[joinKey(joinIndex(first, i), key)] != 0
			}
			if !shown {
				t.Errorf("reference.toml does not show %q", joinKey(path, key))
			}
			if table != tableTop && !strings.Contains(string(Reference()), "# "+key+":") && !strings.Contains(string(Reference()), "#   "+key+":") && table != tableCHAP && table != tableLimit && table != tableScrub && table != tableSnapshot {
				t.Errorf("reference.toml does not explain %q of %q", key, table)
			}
		}
	}
}

func TestParseDefaultAndDemo(t *testing.T) {
	got, err := Parse("default.toml", Default())
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{Hostname: "sanstick", Interfaces: []Interface{{DHCP: true}}}
	if diff := cmp.Diff(want, got, cmpNet); diff != "" {
		t.Errorf("default (-want +got):\n%s", diff)
	}
	if w := got.Warnings(); len(w) != 0 {
		t.Errorf("warnings: %q", w)
	}

	got, err = Parse("demo.toml", Demo())
	if err != nil {
		t.Fatal(err)
	}
	want.Pools = []Pool{{Name: "tank", Disks: []string{"*"}, Layout: LayoutMirror, SpareAfter: DefaultSpareAfter, ScrubEvery: DefaultScrubEvery}}
	want.Volumes = []Volume{{Name: "demo", Pool: "tank", Size: 1 << 30, Priority: 5}}
	want.Targets = []Target{{Name: "demo", IQN: "iqn.2006-12.local.sanstick:demo", Volumes: []string{"demo"}, Initiators: []string{"*"}}}
	if diff := cmp.Diff(want, got, cmpNet); diff != "" {
		t.Errorf("demo (-want +got):\n%s", diff)
	}
}

// The commented hints of the default file are valid too.
func TestDefaultHints(t *testing.T) {
	var text strings.Builder
	for line := range strings.Lines(string(Default())) {
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") {
			line = line[1:]
		} else if strings.HasPrefix(line, `addresses = ["dhcp"]`) {
			continue
		}
		text.WriteString(line)
	}
	c, err := Parse("default.toml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Pools) != 1 || len(c.Volumes) != 1 || len(c.Targets) != 1 || c.Targets[0].CHAP == nil || !c.Interfaces[0].Gateway.IsValid() {
		t.Errorf("hints were not read: %+v", c)
	}
}

func TestParseOK(t *testing.T) {
	empty := &Config{Hostname: "sanstick"}
	named := &Config{Hostname: "attic"}
	tests := []struct {
		name, text string
		want       *Config
	}{
		{"empty", "", empty},
		{"blank lines and comments", "\n\n# nothing\n", empty},
		{"byte order mark", "\ufeffhostname = \"attic\"\n", named},
		{"Windows line ends", "# hi\r\nhostname = \"attic\"\r\n\r\n", named},
		{"no line end", `hostname = 'attic'`, named},
		{"dotted and quoted keys", "[[interface]]\n\"match\".'name' = \"eth0\"\n",
			&Config{Hostname: "sanstick", Interfaces: []Interface{{Match: Match{Name: "eth0"}, DHCP: true}}}},
		{"table instead of inline table", "[[interface]]\n[interface.match]\nmac = \"52-54-00-AB-CD-EF\"\n",
			&Config{Hostname: "sanstick", Interfaces: []Interface{{Match: Match{MAC: "52:54:00:ab:cd:ef"}, DHCP: true}}}},
		{"array of inline tables", `pool = [{name = "a", disks = ["X"], layout = "single"}]`,
			&Config{Hostname: "sanstick", Pools: []Pool{{Name: "a", Disks: []string{"X"}, Layout: LayoutSingle, SpareAfter: DefaultSpareAfter, ScrubEvery: DefaultScrubEvery}}}},
		{"no sections", `pool = []`, empty},
		{"WWN in upper case", "[[pool]]\nname='a'\nlayout='mirror'\ndisks=['WWN-0X5000C500A1B2C3D4', 'S 1']\n",
			&Config{Hostname: "sanstick", Pools: []Pool{{Name: "a", Disks: []string{"wwn-0x5000c500a1b2c3d4", "S 1"}, Layout: LayoutMirror, SpareAfter: DefaultSpareAfter, ScrubEvery: DefaultScrubEvery}}}},
		{"IPv6 gateway outside of its networks", "[[interface]]\naddresses=['fd00::1/64','dhcp']\ngateway='fe80::1'\n",
			&Config{Hostname: "sanstick", Interfaces: []Interface{{DHCP: true, Gateway: netip.MustParseAddr("fe80::1"),
				Addresses: []netip.Prefix{netip.MustParsePrefix("fd00::1/64")}}}}},
		{"point to point", "[[interface]]\naddresses=['10.0.0.0/31']\ngateway='10.0.0.1'\n",
			&Config{Hostname: "sanstick", Interfaces: []Interface{{Gateway: netip.MustParseAddr("10.0.0.1"),
				Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/31")}}}}},
		{"every blank disk besides named ones", "[[pool]]\nname='a'\nlayout='mirror'\ndisks=['*']\n[[pool]]\nname='b'\nlayout='single'\ndisks=['X']\n",
			&Config{Hostname: "sanstick", Pools: []Pool{{Name: "a", Disks: []string{"*"}, Layout: LayoutMirror, SpareAfter: DefaultSpareAfter, ScrubEvery: DefaultScrubEvery}, {Name: "b", Disks: []string{"X"}, Layout: LayoutSingle, SpareAfter: DefaultSpareAfter, ScrubEvery: DefaultScrubEvery}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse("a.toml", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpNet); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorsAreBounded(t *testing.T) {
	text := "hostname = 1\n" + strings.Repeat("[[pool]]\n", 500)
	_, err := Parse("a.toml", []byte(text))
	errs, ok := err.(Errors)
	if !ok || len(errs) != maxErrors {
		t.Fatalf("%d errors of type %T, want %d", len(errs), err, maxErrors)
	}
	for i := 1; i < len(errs); i++ {
		if errs[i].Line < errs[i-1].Line {
			t.Errorf("line %d after line %d", errs[i].Line, errs[i-1].Line)
		}
	}
	if want := "a.toml:18: 1452 more errors from here on; correct the ones above first"; errs[maxErrors-1].Error() != want {
		t.Errorf("last error %q, want %q", errs[maxErrors-1], want)
	}
}

func TestCHAPNeverPrintsSecret(t *testing.T) {
	c := Target{CHAP: &CHAP{User: "u", Secret: "hunter2hunter2"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{c.CHAP, *c.CHAP, []CHAP{*c.CHAP}} {
			if s := fmt.Sprintf(format, v); strings.Contains(s, "hunter2") {
				t.Errorf("%s of %T prints the secret: %s", format, v, s)
			}
		}
	}
	if s := c.CHAP.LogValue().String(); strings.Contains(s, "hunter2") {
		t.Errorf("the log shows the secret: %s", s)
	}
}
