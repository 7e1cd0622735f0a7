package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// FuzzParse checks that no file breaks the parser, that what it accepts keeps
// its promises, and that it never shows a secret.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{string(Default()), string(Demo()), string(Reference()), okPool + okVolume + okTarget,
		"a = {b = [{c = 1}]}", "[a.'b c'.\"d\"]\nx = '''\n'''\n", "\ufeff[[target]]\r\nchap.secret = 'hunter2hunter2'\r\n",
		"x = \"\"\"a\\\n \"\"\"\"\"\n[[y]]", "hostname = \"\\u0061\"", "interface=[{match={}}]", "[[[", "a.b=1\na.c=2", "x=[1,[2,{y=3}],]#"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f.toml", data)
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 || len(errs) > maxErrors || c != nil {
				t.Fatalf("config %v, error %v", c, err)
			}
			for _, e := range errs {
				if e.File != "f.toml" || e.Msg == "" || e.Line < 0 || e.Line > 1+strings.Count(string(data), "\n") {
					t.Errorf("odd error %+v", e)
				}
			}
		} else {
			checkPromises(t, c)
		}
		checkPositions(t, string(data))
	})
}

func checkPromises(t *testing.T, c *Config) {
	t.Helper()
	pools, volumes, iqns := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, p := range c.Pools {
		if pools[p.Name] || checkPoolName(p.Name) != nil || len(p.Disks) == 0 {
			t.Errorf("bad pool %+v", p)
		}
		pools[p.Name] = true
	}
	for _, v := range c.Volumes {
		if volumes[v.Name] || checkVolumeName(v.Name) != nil || !pools[v.Pool] || (v.Size < Extent && v.From == "") || v.Size%Extent != 0 ||
			v.From != "" && checkReference(v.From) != nil || v.Block != 0 && v.Block != 512 && v.Block != 4096 || (v.Snapshot.Every > 0) != (v.Snapshot.Keep > 0) {
			t.Errorf("bad volume %+v", v)
		}
		volumes[v.Name] = true
	}
	for _, target := range c.Targets {
		if iqns[target.IQN] || checkISCSIName(target.IQN, true) != nil || len(target.Volumes) == 0 {
			t.Errorf("bad target %+v", target)
		}
		iqns[target.IQN] = true
		for _, v := range target.Volumes {
			if name, _, _ := strings.Cut(v, "@"); !volumes[name] {
				t.Errorf("target %s has no volume %s", target.Name, v)
			}
		}
	}
	c.Warnings()
}

// checkPositions checks that every key the decoder finds has a line.
func checkPositions(t *testing.T, text string) {
	t.Helper()
	if len(text) > MaxFile || strings.HasPrefix(text, "\ufeff") || strings.Contains(text, "\x00") {
		return
	}
	pos := scanPositions(text)
	if pos.tooDeep > 0 {
		return
	}
	tree := map[string]any{}
	if _, err := toml.Decode(text, &tree); err != nil {
		return
	}
	checkTree(t, pos, "", tree)
}

func checkTree(t *testing.T, pos positions, path string, v any) {
	if _, ok := pos.lines[path]; !ok && path != "" {
		t.Errorf("no line for %s", path)
	}
	switch v := v.(type) {
	case map[string]any:
		for key, e := range v {
			checkTree(t, pos, joinKey(path, key), e)
		}
	case []any:
		for i, e := range v {
			checkTree(t, pos, joinIndex(path, i), e)
		}
	case []map[string]any:
		for i, e := range v {
			checkTree(t, pos, joinIndex(path, i), e)
		}
	}
}
