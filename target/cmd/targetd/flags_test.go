package main

import (
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/target"
	"sanstick/target/block/backing"
)

func TestParseFlags(t *testing.T) {
	tests := []struct {
		name string
		args string
		want *setup
	}{
		{"least", "--lun 0=a.img --serial S", &setup{
			portals: []portal{{address: "127.0.0.1:3260", group: 1}},
			targets: []targetSpec{{iqn: defaultIQN, initiators: []string{"*"}, luns: []lun{{path: "a.img", serial: "S"}}}},
		}},
		{"all", "--listen 10.0.0.1:3260 --listen [::1]:1 --advertise h:1 --state st --iqn iqn.x:y --initiator iqn.a:b --initiator iqn.c:d --serial S" +
			" --chap u:123456789012 --mutual=t:abcdefghijklm:n --limit mbps=20,iops=500 --lun 0=mem:1GiB,thin,bs=4096 --lun 7=/dev/sdb,ro,removable,pbs=8192", &setup{
			portals: []portal{{address: "10.0.0.1:3260", group: 1}, {address: "[::1]:1", group: 1}}, advertise: []string{"h:1"}, state: "st",
			targets: []targetSpec{{
				iqn: "iqn.x:y", initiators: []string{"iqn.a:b", "iqn.c:d"},
				chap: &target.CHAP{User: "u", Secret: "123456789012"}, mutual: &target.CHAP{User: "t", Secret: "abcdefghijklm:n"},
				limit: target.Limit{IOPS: 500, Bytes: 20_000_000},
				luns: []lun{
					{path: "mem:1GiB", thin: true, device: backing.Options{LogicalBlock: 4096}, serial: "S-0"},
					{number: 7, path: "/dev/sdb", removable: true, device: backing.Options{ReadOnly: true, PhysicalBlock: 8192}, serial: "S-7"},
				},
			}},
		}},
		{"nothing", "", nil},
		{"no path", "--lun 0=", nil},
		{"no number", "--lun a.img", nil},
		{"number too large", "--lun 16384=a", nil},
		{"twice", "--lun 0=a --lun 0=b", nil},
		{"unknown option", "--lun 0=a,fast", nil},
		{"odd block size", "--lun 0=a,bs=1000", nil},
		{"no block size", "--lun 0=a,bs", nil},
		{"unknown flag", "--lun 0=a --fast", nil},
		{"left over", "--lun 0=a b.img", nil},
		{"config and another", "--config /nowhere --lun 0=a", nil},
		{"config, a profile and another", "--config /nowhere --profile p --lun 0=a", nil},
		{"limit without a name", "--lun 0=a --limit 500", nil},
		{"limit too low", "--lun 0=a --limit iops=1", nil},
		{"unknown limit", "--lun 0=a --limit iop=100", nil},
		{"short secret", "--lun 0=a --chap u:short-SECRT", nil},
		{"no secret", "--lun 0=a --mutual short-SECRT", nil},
		{"value for a switch", "--lun 0=a,ro=5", nil},
		{"empty value for a switch", "--lun 0=a,ro=", nil},
		{"same disk twice", "--lun 0=a --lun 1=a", nil},
		{"secret both ways", "--lun 0=a --chap u:123456789012-SECRT --mutual t:123456789012-SECRT", nil},
		{"bad portal", "--lun 0=a --advertise 10.0.0.1", nil},
		{"file and flags", "--config /nonexistent --lun 0=a", nil},
		{"no such file", "--config /nonexistent", nil},
		{"secret with equals sign", "--lun 0=a --chap=:short-SECRT-without-user", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseFlags(strings.Fields(tt.args))
			if (err == nil) != (tt.want != nil) {
				t.Fatalf("error %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "SECRT") {
				t.Errorf("the error tells the secret: %v", err)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.want, got.setup, unexported); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, err := parseFlags([]string{"--help"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help: %v", err)
	}
}

// The help names every flag there is.
func TestUsage(t *testing.T) {
	for _, name := range []string{"listen", "advertise", "iqn", "lun", "initiator", "chap", "mutual", "limit", "serial", "state", "config", "profile", "help"} {
		if !strings.Contains(usage, "\n  --"+name+" ") {
			t.Errorf("nothing about --%s", name)
		}
	}
}

func TestIdentity(t *testing.T) {
	serials := func(args string) (s []string) {
		o, err := parseFlags(strings.Fields(args))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range o.setup.targets[0].luns {
			s = append(s, l.serial)
		}
		return s
	}
	a := serials("--lun 0=a --lun 1=b")
	if b := serials("--lun 0=a,thin"); a[0] != b[0] {
		t.Error("identity changes with how a unit is presented")
	}
	if a[0] == a[1] {
		t.Error("two units have the same identity")
	}
	if diff := cmp.Diff([]string{"S"}, serials("--lun 3=a --serial S")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"S-0", "S-1"}, serials("--lun 0=a --lun 1=b --serial S")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
