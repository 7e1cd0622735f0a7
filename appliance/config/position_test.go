package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScanPositions(t *testing.T) {
	const text = `# comment [with] "brackets"
hostname = "a" # more
a.b . "c.d" = 'x'
[[pool]]
name = """
two
lines \
\""" more"""""
disks = [ # comment ]
  "A", 'B]',
  [ 1,
    2 ],
]
[pool.sub.deep]
k = 1979-05-27T07:32:00Z
[[pool]]
name = '''it's
'''
match = { mac = "x", name.first = [{y = 1}, {}] }
[[pool.part]]
n = -1.5e3
[[pool.part]]
[pool.sub]
k = true
['odd "one"']
"\u0041\tb" = {}
`
	got := scanPositions(text)
	want := map[string]int{
		"hostname": 2, "a": 3, "a.b": 3, `a.b."c.d"`: 3,
		"pool": 4, "pool[0]": 4, "pool[0].name": 5, "pool[0].disks": 9, "pool[0].disks[0]": 10, "pool[0].disks[1]": 10,
		"pool[0].disks[2]": 11, "pool[0].disks[2][0]": 11, "pool[0].disks[2][1]": 12,
		"pool[0].sub": 14, "pool[0].sub.deep": 14, "pool[0].sub.deep.k": 15,
		"pool[1]": 16, "pool[1].name": 17, "pool[1].match": 19, "pool[1].match.mac": 19, "pool[1].match.name": 19,
		"pool[1].match.name.first": 19, "pool[1].match.name.first[0]": 19, "pool[1].match.name.first[0].y": 19, "pool[1].match.name.first[1]": 19,
		"pool[1].part": 20, "pool[1].part[0]": 20, "pool[1].part[0].n": 21, "pool[1].part[1]": 22,
		"pool[1].sub": 23, "pool[1].sub.k": 24,
		`"odd \"one\""`: 25, `"odd \"one\""."A\tb"`: 26,
	}
	if diff := cmp.Diff(want, got.lines); diff != "" {
		t.Errorf("positions (-want +got):\n%s", diff)
	}
	for path, want := range map[string]int{"pool[1].absent": 16, "pool[1].match.name.first[7].q": 19, "nothing": 0, `a.b."x.y"`: 3} {
		if n := got.line(path); n != want {
			t.Errorf("line of %s is %d, want %d", path, n, want)
		}
	}
}
