package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"

	"sanstick/target"
	"sanstick/target/block/backing"
)

var unexported = cmp.AllowUnexported(setup{}, portal{}, targetSpec{}, lun{})

func TestParseConfig(t *testing.T) {
	got, err := parseConfig("/etc/targetd.toml", `
listen = ["10.0.0.1:3260", "[::1]:1"]
advertise = ["h:1"]
portal = [{ address = "10.0.0.2:1", group = 7, advertise = ["a:1"] }]
state = "st"

[[target]]
iqn = "iqn.x:One"
alias = "first"
initiators = ["iqn.a:b", "iqn.c:d"]
chap = { user = "u", secret = "123456789012" }
mutual = { user = "t", secret = "abcdefghijkl" }
limit = { iops = 500, mbps = 20 }
groups = [1, 7]
redirect = { address = "b:2", permanent = true }
  [[target.lun]]
  number = 0
  path = "disk.img"
  serial = "S"
  thin = true
  ro = false
  bs = 4096
  [[target.lun]]
  number = 16383
  path = "/dev/sdb"
  serial = "T"
  ro = true
  removable = true
  pbs = 8192

[[target]]
iqn = "iqn.x:two"
initiators = []
lun = [{ number = 1, path = "./disk.img", serial = "S", thin = true, bs = 4096 }]
`)
	if err != nil {
		t.Fatal(err)
	}
	shared := lun{path: "/etc/disk.img", thin: true, device: backing.Options{LogicalBlock: 4096}, serial: "S"}
	second := shared
	second.number = 1
	want := &setup{
		portals: []portal{{address: "10.0.0.1:3260", group: 1}, {address: "[::1]:1", group: 1}, {address: "10.0.0.2:1", group: 7, advertise: []string{"a:1"}}}, advertise: []string{"h:1"}, state: "/etc/st",
		targets: []targetSpec{{
			iqn: "iqn.x:One", alias: "first", initiators: []string{"iqn.a:b", "iqn.c:d"},
			chap: &target.CHAP{User: "u", Secret: "123456789012"}, mutual: &target.CHAP{User: "t", Secret: "abcdefghijkl"},
			limit:  target.Limit{IOPS: 500, Bytes: 20_000_000},
			groups: []uint16{1, 7}, redirect: &target.Redirect{Address: "b:2", Permanent: true},
			luns: []lun{shared, {number: 16383, path: "/dev/sdb", removable: true, serial: "T", device: backing.Options{ReadOnly: true, PhysicalBlock: 8192}}},
		}, {iqn: "iqn.x:two", luns: []lun{second}}},
	}
	if diff := cmp.Diff(want, got, unexported); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Every error names the file, the line and the key, and no secret.
func TestParseConfigErrors(t *testing.T) {
	const top = "[[target]]\niqn = \"iqn.x:y\"\ninitiators = [\"*\"]\n" // 3 lines
	const disk = "[[target.lun]]\nnumber = 0\npath = \"mem:1M\"\n"
	for _, tt := range []struct{ name, doc, want string }{
		{"nothing", "", "f: target: nothing to serve"},
		{"not TOML", top + "alias = \"\n", "f:4: "},
		{"not TOML, with a secret", top + "secret = \"SECRT\n", "f:4: "},
		{"key twice", top + "alias = \"a\"\nalias = \"b\"\n", "f:5: target.alias:"},
		{"unknown key", "listn = []\n" + top, "f:1: listn: unknown key"},
		{"unknown key in a target", "\n" + top + "lum = 1\n" + top, "f:5: target[0].lum: unknown key"},
		{"unknown key in a LUN", top + disk + disk + "fast = true\n", "f:10: target[0].lun[1].fast: option"},
		{"wrong type", "listen = \"a:1\"\n" + top, "f:1: listen: must be a list of strings"},
		{"wrong type in a list", "listen = [\n\"a:1\",\n2]\n" + top, "f:1: listen: must be a list of strings"},
		{"no port", "listen = [\"10.0.0.1\"]\n" + top, `f:1: listen: "10.0.0.1" is not ADDRESS:PORT`},
		{"no address", "[[portal]]\ngroup = 2\n" + top, `f:1: portal[0].address: "" is not`},
		{"group 0", "[[portal]]\naddress = \"a:1\"\ngroup = 0\n" + top, "f:3: portal[0].group: a portal group is 1 to 65535"},
		{"unknown key of a portal", "[[portal]]\naddress = \"a:1\"\nip = 0\n" + top, "f:3: portal[0].ip: unknown key"},
		{"no such group", top + "groups = [1, 2]\n", "f:4: target[0].groups: there is no portal of group 2"},
		{"groups is a number", top + "groups = 1\n", "f:4: target[0].groups: must be a list"},
		{"limit is a number", top + "limit = 5\n", "f:4: target[0].limit: must be a table"},
		{"limit too low", top + "limit = { iops = 9 }\n", "f:4: target[0].limit.iops: must be from 10 commands"},
		{"limit of nothing", top + "limit = { mbps = 0 }\n", "f:4: target[0].limit.mbps: must be from 1 megabyte"},
		{"limit with a fraction", top + "limit = { mbps = 1.5 }\n", "f:4: target[0].limit.mbps: must be a whole number"},
		{"unknown limit", top + "limit = { iop = 50 }\n", "f:4: target[0].limit.iop: unknown key; there are iops, mbps"},
		{"bad redirect", top + "redirect = { address = \"a\" }\n", `f:4: target[0].redirect.address: "a" is not`},
		{"bad flag", top + "redirect = { address = \"a:1\", permanent = 1 }\n", "f:4: target[0].redirect.permanent: must be true or false"},
		{"single brackets", "[target]\n", "f:1: target: must be an array of tables: write [[target]]"},
		{"no name", "[[target]]\ninitiators = []\n", "f:1: target[0].iqn: the target needs a name"},
		{"bad name", "[[target]]\niqn = \"a b\"\ninitiators = []\n", `f:1: target[0]: target "a b": that is no iSCSI name`},
		{"nobody said who", "[[target]]\niqn = \"iqn.x:y\"\n", "f:1: target[0].initiators: say who"},
		{"bad initiator", "[[target]]\niqn = \"iqn.x:y\"\ninitiators = [\"a b\"]\n", `"a b" is no iSCSI name`},
		{"name twice", top + strings.ToUpper("# ") + "\n" + strings.Replace(top, "iqn.x:y", "IQN.X:Y", 1), "f:6: target[1].iqn: IQN.X:Y is there twice"},
		{"LUN twice", top + disk + disk, "f:8: target[0].lun[1].number: LUN 0 is there twice"},
		{"no number", top + "[[target.lun]]\npath = \"mem:1M\"\n", "f:4: target[0].lun[0].number: the LUN needs one"},
		{"number too large", top + "[[target.lun]]\nnumber = 16384\npath = \"mem:1M\"\n", "f:5: target[0].lun[0].number: must be 0 to 16383"},
		{"number is a string", top + "[[target.lun]]\nnumber = \"1\"\npath = \"mem:1M\"\n", "f:5: target[0].lun[0].number: must be 0 to 16383"},
		{"no path", top + "[[target.lun]]\nnumber = 1\n", "f:4: target[0].lun[0].path: the LUN needs one"},
		{"bad size", top + "[[target.lun]]\nnumber = 1\npath = \"mem:0\"\n", "f:6: target[0].lun[0].path: size"},
		{"block size", top + disk + "bs = 1000\n", "f:7: target[0].lun[0].bs: bs must be"},
		{"block size true", top + disk + "bs = true\n", "f:7: target[0].lun[0].bs: bs must be"},
		{"switch of number", top + disk + "ro = 1\n", "f:7: target[0].lun[0].ro: ro is on or off"},
		{"switch of text", top + disk + "ro = \"\"\n", "f:7: target[0].lun[0].ro: ro is on or off"},
		{"switch of list", top + disk + "ro = []\n", "f:7: target[0].lun[0].ro: ro is on or off"},
		{"short secret", top + "chap = { user = \"u\", secret = \"SECRT\" }\n", "f:4: target[0].chap.secret: must have 12 to 255 bytes"},
		{"no user", top + "[target.chap]\nsecret = \"SECRT-is-long-enough\"\n", "f:4: target[0].chap.user: must not be empty"},
		{"unknown key of CHAP", top + "[target.chap]\nuser = \"u\"\nsecret = \"SECRT-is-long-enough\"\npassword = \"SECRT\"\n", "f:7: target[0].chap.password: unknown key"},
		{"mutual alone", top + "mutual = { user = \"u\", secret = \"SECRT-is-long-enough\" }\n", "mutual CHAP needs CHAP"},
		{"secret both ways, elsewhere", top + "chap = { user = \"u\", secret = \"SECRT-is-long-enough\" }\n" +
			strings.Replace(top, "iqn.x:y", "iqn.x:z", 1) + "chap = { user = \"u\", secret = \"SECRT-is-another-one\" }\nmutual = { user = \"t\", secret = \"SECRT-is-long-enough\" }\n",
			"f:9: target[1].mutual: the secret must not be"},
		{"serial twice", top + disk + "serial = \"S\"\n[[target.lun]]\nnumber = 1\npath = \"/a\"\nserial = \"S\"\n", "f:8: target[0].lun[1]: serial number"},
		{"same disk, other options", top + "[[target.lun]]\nnumber = 0\npath = \"/a\"\n[[target.lun]]\nnumber = 1\npath = \"/b/../a\"\nro = true\n", "f:7: target[0].lun[1]: the same disk"},
	} {
		_, err := parseConfig("f", tt.doc)
		switch {
		case err == nil:
			t.Errorf("%s: no error", tt.name)
		case !strings.Contains(err.Error(), tt.want):
			t.Errorf("%s: %v\nwant %s", tt.name, err, tt.want)
		case strings.Contains(err.Error(), "SECRT"):
			t.Errorf("%s: the error tells a secret: %v", tt.name, err)
		}
	}
}

func TestKeyLines(t *testing.T) {
	got := keyLines(`a = 1 # [b]
'b c' = """x
"""" # y
c = [ # {
  "]", '}"',
]
d.e = '''
k = 1
'''
[f]
g = {h = "\\"}
[[i]]
j = 1
[[i.k]]
l = "\"#"
[i.k.m]
n = 1
[[i]]
[[i.k]]`)
	want := map[string]int{
		"a": 1, "b c": 2, "c": 4, "d.e": 7, "f": 10, "f.g": 11, "i": 12, "i[0]": 12, "i[0].j": 13,
		"i[0].k": 14, "i[0].k[0]": 14, "i[0].k[0].l": 15, "i[0].k[0].m": 16, "i[0].k[0].m.n": 17,
		"i[1]": 18, "i[1].k": 19, "i[1].k[0]": 19,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add("[[target]]\niqn = \"iqn.x:y\"\ninitiators = [\"*\"]\n[[target.lun]]\nnumber = 0\npath = \"mem:1M\"\n")
	f.Add("a = \"\"\"\n\\\n\"\"\"\n[b.'c']\n\"d\" . e = [1,\n{f=2}]")
	f.Fuzz(func(t *testing.T, doc string) {
		lines := keyLines(doc)
		parseConfig("f", doc)
		values := make(map[string]any)
		if _, err := toml.Decode(doc, &values); err != nil || strings.ContainsAny(doc, "\"'\\") {
			return // quoted keys may look like anything
		}
		for path := range values {
			if n := lineOf(lines, path); n < 1 || n > 1+strings.Count(doc, "\n") {
				t.Errorf("key %q is on line %d", path, n)
			}
		}
		walkTables(values, "", func(path string) {
			if lines[path] == 0 {
				t.Errorf("table %q isn't found", path)
			}
		})
	})
}

// walkTables calls f for each [[table]] of a document, at any depth.
func walkTables(m map[string]any, at string, f func(path string)) {
	for key, v := range m {
		path := strings.TrimPrefix(at+"."+key, ".")
		switch v := v.(type) {
		case map[string]any:
			walkTables(v, path, f)
		case []map[string]any:
			for i, e := range v {
				if len(e) > 0 && at == "" {
					f(element(path, i))
				}
				walkTables(e, element(path, i), f)
			}
		}
	}
}

// Secrets must not be there for all to read, and the file not for all to write.
func TestConfigMode(t *testing.T) {
	const open = "[[target]]\niqn = \"iqn.x:y\"\ninitiators = [\"*\"]\n"
	const locked = open + "chap = { user = \"u\", secret = \"SECRT-is-long-enough\" }\n"
	path := filepath.Join(t.TempDir(), "targetd.toml")
	for _, tt := range []struct {
		doc  string
		mode os.FileMode
		ok   bool
	}{
		{open, 0o644, true}, {open, 0o646, false}, {locked, 0o600, true}, {locked, 0o640, true}, {locked, 0o644, false}, {locked, 0o602, false},
	} {
		if err := os.WriteFile(path, []byte(tt.doc), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := readConfig(path); (err == nil) != tt.ok {
			t.Errorf("mode %o: %v", tt.mode, err)
		}
	}
}

// The help shows a whole configuration file, which is a good one.
func TestUsageConfig(t *testing.T) {
	_, doc, _ := strings.Cut(usage, "All of it:\n")
	doc, _, ok := strings.Cut(doc, "The same path")
	if !ok {
		t.Fatal("no file in the help")
	}
	s, err := parseConfig("help", doc)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.targets) != 1 || len(s.targets[0].luns) != 2 || s.targets[0].mutual == nil {
		t.Errorf("the help's file says %+v", s)
	}
}

// A CD is read-only, whatever else is said and in whatever order.
func TestConfigDisc(t *testing.T) {
	s, err := parseConfig("f", "[[target]]\niqn = \"iqn.x:y\"\ninitiators = []\nlun = [{ number = 0, path = \"a\", ro = false, cd = true }]\n")
	if err != nil {
		t.Fatal(err)
	}
	if l := s.targets[0].luns[0]; !l.device.ReadOnly || !l.cd {
		t.Errorf("%+v", l)
	}
}
