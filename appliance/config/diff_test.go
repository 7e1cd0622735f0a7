package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	const old = `
hostname = "attic"
[[pool]]
name = "tank"
disks = ["A", "B"]
layout = "mirror"
[[volume]]
name = "vm1"
pool = "tank"
size = "64GiB"
[[volume]]
name = "vm2"
pool = "tank"
size = "1GiB"
[[target]]
name = "vm1"
volumes = ["vm1"]
initiators = ["*"]
chap = { user = "me", secret = "a secret of mine" }
`
	next := strings.NewReplacer("attic", "cellar", "64GiB", "1.5TiB", `"*"`, `"iqn.2006-12.local:me"`, "secret of mine", "secret of yours").Replace(old)
	next = strings.Replace(next, `name = "vm2"`, `name = "vm3"`, 1)
	parse := func(s string) *Config {
		c, err := Parse("x", []byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var got []string
	for _, c := range Diff(parse(old), parse(next)) {
		got = append(got, c.String())
	}
	want := []string{
		"hostname: attic -> cellar",
		"volume vm1: size 64GiB -> 1536GiB",
		"volume vm3 is new",
		"volume vm2 is gone",
		"target vm1: iqn iqn.2006-12.local.attic:vm1 -> iqn.2006-12.local.cellar:vm1, initiators [*] -> [iqn.2006-12.local:me], chap is another one",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if same := Diff(parse(old), parse(old)); len(same) > 0 {
		t.Errorf("a configuration differs from itself: %v", same)
	}
}
