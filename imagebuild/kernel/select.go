package kernel

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

//go:embed modules.txt
var modulesText string

// patterns reads a pattern file: one per line, # begins a comment.
func patterns(text string) []string {
	var out []string
	s := bufio.NewScanner(strings.NewReader(text))
	for s.Scan() {
		line, _, _ := strings.Cut(s.Text(), "#")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// choose applies patterns in order to module paths and returns the chosen paths, sorted. A pattern that matches no
// module at all is an error: it is a typing mistake or a driver that has moved.
func choose(modules []string, patterns []string) ([]string, error) {
	chosen := make(map[string]bool)
	for _, p := range patterns {
		pattern, without := strings.CutPrefix(p, "!")
		matched := false
		for _, m := range modules {
			ok, err := match(pattern, m)
			if err != nil {
				return nil, fmt.Errorf("cannot use module pattern %q: %w", p, err)
			}
			if ok {
				matched = true
				chosen[m] = !without
			}
		}
		if !matched {
			return nil, fmt.Errorf("cannot choose kernel modules: pattern %q matches none", p)
		}
	}
	var out []string
	for m, ok := range chosen {
		if ok {
			out = append(out, m)
		}
	}
	slices.Sort(out)
	return out, nil
}

// named finds modules by their names. What is built into the kernel needs no module.
func (x *index) named(names []string, builtin map[string]bool) ([]string, error) {
	var out []string
	var errs []error
	for _, n := range names {
		m, ok := x.byName[fold(n)]
		switch {
		case ok:
			out = append(out, m)
		case !builtin[fold(n)]:
			errs = append(errs, fmt.Errorf("there is no module %q", n))
		}
	}
	return out, errors.Join(errs...)
}

// builtinNames reads modules.builtin: which modules are part of the kernel, folded.
func builtinNames(text []byte) map[string]bool {
	out := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			out[fold(moduleName(line))] = true
		}
	}
	return out
}

// match reports whether a module path ("kernel/drivers/ata/ahci.ko") matches a pattern.
func match(pattern, module string) (bool, error) {
	name := moduleName(module)
	if !strings.Contains(pattern, "/") {
		return fold(pattern) == fold(name), nil
	}
	file := path.Join(path.Dir(strings.TrimPrefix(module, "kernel/")), name)
	if dir, rest, ok := strings.Cut(pattern, "/**"); ok {
		if !strings.HasPrefix(file, dir+"/") {
			return false, nil
		}
		if rest == "" {
			return true, nil
		}
		return path.Match(strings.TrimPrefix(rest, "/"), path.Base(file))
	}
	return path.Match(pattern, file)
}

// moduleName is the file name of a module path without its endings.
func moduleName(module string) string {
	name, _, _ := strings.Cut(path.Base(module), ".ko")
	return name
}

// fold makes the spellings of a module name equal: the kernel takes - and _ for the same.
func fold(name string) string {
	return strings.ReplaceAll(name, "-", "_")
}
