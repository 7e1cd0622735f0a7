package kernel

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// index is what depmod writes about the modules of one kernel.
type index struct {
	deps    map[string][]string // module path -> paths of all modules it needs
	byName  map[string]string   // folded name -> module path
	softdep map[string][]string // folded name -> names or aliases wanted with it
	aliases map[string][]string // folded alias -> folded names of the modules that answer to it
}

// parseIndex reads modules.dep, modules.softdep and modules.alias.
func parseIndex(dep, softdep, alias []byte) (*index, error) {
	x := &index{
		deps:    make(map[string][]string),
		byName:  make(map[string]string),
		softdep: make(map[string][]string),
		aliases: make(map[string][]string),
	}
	err := eachLine(dep, func(line string) error {
		module, needs, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("cannot read modules.dep: no colon in %q", line)
		}
		x.deps[module] = strings.Fields(needs)
		x.byName[fold(moduleName(module))] = module
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = eachLine(softdep, func(line string) error {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "softdep" {
			return fmt.Errorf("cannot read modules.softdep: %q", line)
		}
		for _, w := range f[2:] {
			if w != "pre:" && w != "post:" {
				x.softdep[fold(f[1])] = append(x.softdep[fold(f[1])], w)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = eachLine(alias, func(line string) error {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "alias" {
			return fmt.Errorf("cannot read modules.alias: %q", line)
		}
		name, of := fold(f[1]), fold(f[len(f)-1])
		x.aliases[name] = append(x.aliases[name], of)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return x, nil
}

// eachLine calls fn for every line that is neither empty nor a comment.
func eachLine(data []byte, fn func(string) error) error {
	s := bufio.NewScanner(bytes.NewReader(data))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if line := strings.TrimSpace(s.Text()); line != "" && line[0] != '#' {
			if err := fn(line); err != nil {
				return err
			}
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("cannot read module index: %w", err)
	}
	return nil
}

// modules lists all module paths, sorted.
func (x *index) modules() []string {
	out := make([]string, 0, len(x.deps))
	for m := range x.deps {
		out = append(out, m)
	}
	slices.Sort(out)
	return out
}

// closure returns the chosen modules with everything they need: hard dependencies, and soft ones that exist as
// modules (the others are built in). Sorted.
func (x *index) closure(chosen []string) ([]string, error) {
	seen := make(map[string]bool)
	queue := slices.Clone(chosen)
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		if seen[m] {
			continue
		}
		needs, ok := x.deps[m]
		if !ok {
			return nil, fmt.Errorf("cannot find module %s in modules.dep", m)
		}
		seen[m] = true
		queue = append(queue, needs...)
		for _, soft := range x.softdep[fold(moduleName(m))] {
			queue = append(queue, x.lookup(soft)...)
		}
	}
	out := make([]string, 0, len(seen))
	for m := range seen {
		out = append(out, m)
	}
	slices.Sort(out)
	return out, nil
}

// lookup finds the modules that answer to a name or an alias without wildcards.
func (x *index) lookup(name string) []string {
	if m, ok := x.byName[fold(name)]; ok {
		return []string{m}
	}
	var out []string
	for _, of := range x.aliases[fold(name)] {
		if m, ok := x.byName[of]; ok {
			out = append(out, m)
		}
	}
	return out
}
