package coldplug

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An Index knows the modules of a kernel: where they are, what they need and
// which devices they are for. Immutable; safe for concurrent use.
type Index struct {
	dir     string
	modules map[string]module // by canonical name
	builtin map[string]bool
	soft    map[string]softdep
	aliases *aliasIndex
}

type module struct {
	path string   // below dir
	deps []string // canonical names
}

type softdep struct{ pre, post []string } // names or aliases

// No file of Debian's whole kernel is larger than 2 MB.
const maxIndexFile = 16 << 20

// ReadIndex reads depmod's modules.dep, modules.alias, modules.softdep and
// modules.builtin in dir, /lib/modules/VERSION. The first must be there.
func ReadIndex(dir string) (*Index, error) {
	var text [4]string
	for i, name := range []string{"modules.dep", "modules.alias", "modules.softdep", "modules.builtin"} {
		b, err := readBounded(filepath.Join(dir, name))
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read module index: %w", err)
		}
		text[i] = string(b)
	}
	return parseIndex(dir, text[0], text[1], text[2], text[3])
}

func readBounded(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxIndexFile {
		return nil, fmt.Errorf("%s is too big: %d bytes", path, fi.Size())
	}
	return os.ReadFile(path)
}

func parseIndex(dir, dep, alias, soft, builtin string) (*Index, error) {
	x := &Index{dir: dir, builtin: make(map[string]bool)}
	var err error
	if x.modules, err = parseDeps(dep); err != nil {
		return nil, err
	}
	if x.aliases, err = parseAliases(alias); err != nil {
		return nil, err
	}
	if x.soft, err = parseSoftdeps(soft); err != nil {
		return nil, err
	}
	for line := range strings.SplitSeq(builtin, "\n") {
		if line != "" {
			x.builtin[moduleName(line)] = true
		}
	}
	return x, nil
}

// parseDeps reads the lines "PATH: PATH PATH" of modules.dep.
func parseDeps(text string) (map[string]module, error) {
	all := make(map[string]module)
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" {
			continue
		}
		path, deps, ok := strings.Cut(line, ":")
		if !ok || path == "" {
			return nil, fmt.Errorf("cannot parse modules.dep: line %q", line)
		}
		m := module{path: path}
		for d := range strings.FieldsSeq(deps) {
			m.deps = append(m.deps, moduleName(d))
		}
		all[moduleName(path)] = m
	}
	return all, nil
}

// parseSoftdeps reads the lines "softdep MODULE pre: A B post: C" of
// modules.softdep.
func parseSoftdeps(text string) (map[string]softdep, error) {
	all := make(map[string]softdep)
	for line := range strings.SplitSeq(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if len(words) < 2 || words[0] != "softdep" {
			return nil, fmt.Errorf("cannot parse modules.softdep: line %q", line)
		}
		name := canonical(words[1])
		s := all[name]
		var list *[]string
		for _, w := range words[2:] {
			switch {
			case w == "pre:":
				list = &s.pre
			case w == "post:":
				list = &s.post
			case list == nil:
				return nil, fmt.Errorf("cannot parse modules.softdep: line %q", line)
			default:
				*list = append(*list, w)
			}
		}
		all[name] = s
	}
	return all, nil
}

// moduleName makes "kernel/drivers/md/dm-mod.ko.zst" dm_mod.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return canonical(name)
}

// Find returns the modules that a modalias, an alias or a name stands for, in
// the kernel's spelling; none if nothing is known or it is part of the kernel.
func (x *Index) Find(name string) []string {
	if n := canonical(name); x.has(n) {
		return []string{n}
	}
	return slices.DeleteFunc(x.aliases.find(name), func(m string) bool { return !x.has(m) })
}

func (x *Index) has(name string) bool {
	_, ok := x.modules[name]
	return ok
}

// Builtin reports whether the module is part of the kernel.
func (x *Index) Builtin(name string) bool { return x.builtin[canonical(name)] }

// A step is a module to load on the way to another.
type step struct {
	module string
	hard   bool // without it, the one asked for can't work
}

// order returns what is to be loaded for the module, in order: its soft
// dependencies "pre", what it depends on, itself, its soft dependencies
// "post". Each comes once, loops in soft dependencies are cut.
func (x *Index) order(name string) []step {
	var out []step
	at := make(map[string]int) // place in out; -1 while being worked on
	var visit func(name string, hard bool)
	visit = func(name string, hard bool) {
		if i, ok := at[name]; ok {
			if i >= 0 {
				out[i].hard = out[i].hard || hard
			}
			return
		}
		at[name] = -1
		soft := x.soft[name]
		for _, s := range soft.pre {
			for _, m := range x.Find(s) {
				visit(m, false)
			}
		}
		for _, d := range x.modules[name].deps {
			visit(d, hard)
		}
		at[name] = len(out)
		out = append(out, step{name, hard})
		for _, s := range soft.post {
			for _, m := range x.Find(s) {
				visit(m, false)
			}
		}
	}
	visit(name, true)
	return out
}
