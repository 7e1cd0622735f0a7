package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWarnings(t *testing.T) {
	const text = `
interface = [{match={name='a'}, addresses=['10.0.0.1/24']}, {match={name='b'}, addresses=['10.0.0.2/24']}]
pool = [{name='p', disks=['*'], layout='single'}]
volume = [{name='v', pool='p', size='1GiB'}, {name='w', pool='p', size='1GiB'}]
target = [
  {name='t', volumes=['v'], initiators=['*']},
  {name='u', volumes=['v'], initiators=['*'], chap={user='u', secret='hunter2hunter2'}},
  {name='x', volumes=['v']},
]
`
	c, err := Parse("a.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"two interfaces have an address in the network 10.0.0.0/24: traffic may use either of them; give each a network of its own",
		`pool "p" has one copy of its data: a dead disk takes every volume with it`,
		`pool "p" takes every blank disk (disks = ["*"]); name the disks by serial number to be sure which`,
		`target "t" lets anyone on the network read and overwrite its volumes (initiators = ["*"], no chap)`,
		`target "u" lets anyone in who knows its CHAP secret (initiators = ["*"])`,
		`target "x" lets nobody in: its initiators list is empty`,
		`volume "v" is served by the targets t and u and x: initiators that don't share it with care (VMFS, a cluster file system) destroy its data`,
		`volume "w" is served by no target`,
	}
	if diff := cmp.Diff(want, c.Warnings()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
