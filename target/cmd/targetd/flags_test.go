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
		want *options
	}{
		{"least", "--lun 0=a.img", &options{
			listen: []string{"127.0.0.1:3260"}, iqn: defaultIQN, initiators: []string{"*"}, luns: []lun{{path: "a.img"}},
		}},
		{"all", "--listen 10.0.0.1:3260 --listen [::1]:1 --iqn iqn.x:y --initiator iqn.a:b --initiator iqn.c:d --serial S" +
			" --chap u:123456789012 --mutual=t:abcdefghijklm:n --lun 0=mem:1GiB,thin,bs=4096 --lun 7=/dev/sdb,ro,removable,pbs=8192", &options{
			listen: []string{"10.0.0.1:3260", "[::1]:1"}, iqn: "iqn.x:y", initiators: []string{"iqn.a:b", "iqn.c:d"}, serial: "S",
			chap: &target.CHAP{User: "u", Secret: "123456789012"}, mutual: &target.CHAP{User: "t", Secret: "abcdefghijklm:n"},
			luns: []lun{
				{path: "mem:1GiB", thin: true, device: backing.Options{LogicalBlock: 4096}},
				{number: 7, path: "/dev/sdb", removable: true, device: backing.Options{ReadOnly: true, PhysicalBlock: 8192}},
			},
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
		{"short secret", "--lun 0=a --chap u:short-SECRT", nil},
		{"no secret", "--lun 0=a --mutual short-SECRT", nil},
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
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(options{}, lun{})); diff != "" {
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
	for _, name := range []string{"listen", "iqn", "lun", "initiator", "chap", "mutual", "serial", "help"} {
		if !strings.Contains(usage, "\n  --"+name+" ") {
			t.Errorf("nothing about --%s", name)
		}
	}
}

func TestIdentity(t *testing.T) {
	a, b := lun{number: 0, path: "a"}, lun{number: 1, path: "b"}
	one := &options{iqn: "iqn.x:y", luns: []lun{a}}
	same := lun{number: 0, path: "a", thin: true}
	if identity(one, a) != identity(one, same) {
		t.Error("identity changes with how a unit is presented")
	}
	if identity(one, a) == identity(one, b) {
		t.Error("two units have the same identity")
	}
	named := &options{serial: "S", luns: []lun{a}}
	if got := identity(named, a).Serial; got != "S" {
		t.Errorf("serial %q", got)
	}
	named.luns = append(named.luns, b)
	if got := identity(named, b).Serial; got != "S-1" {
		t.Errorf("serial %q", got)
	}
}
