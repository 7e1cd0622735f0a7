package coldplug

import (
	"fmt"
	"slices"
	"strings"
)

// aliasIndex finds the modules for a modalias among many thousand patterns.
// Patterns are kept by the literal text before their first wildcard, so a
// look-up asks the map once for each length that occurs (some dozens), and
// runs the matcher on a few candidates only.
type aliasIndex struct {
	byPrefix map[string][]aliasEntry
	lengths  []int
	cpu      map[string][]string // by module: its patterns that name a feature of the CPU
}

type aliasEntry struct {
	pattern string
	module  string
}

// parseAliases reads the lines "alias PATTERN MODULE" of modules.alias.
func parseAliases(text string) (*aliasIndex, error) {
	x := &aliasIndex{byPrefix: make(map[string][]aliasEntry, strings.Count(text, "\n")), cpu: make(map[string][]string)}
	seen := make(map[int]bool)
	for line := range strings.SplitSeq(text, "\n") {
		rest, ok := strings.CutPrefix(line, "alias ")
		if !ok {
			if line == "" || line[0] == '#' {
				continue
			}
			return nil, fmt.Errorf("cannot parse modules.alias: line %q", line)
		}
		// A pattern may hold spaces (of a DMI name), a module's name can't.
		cut := strings.LastIndexByte(rest, ' ')
		if cut <= 0 || cut == len(rest)-1 {
			return nil, fmt.Errorf("cannot parse modules.alias: line %q", line)
		}
		pattern, module := rest[:cut], canonical(rest[cut+1:])
		n := strings.IndexAny(pattern, "*?[")
		if n < 0 {
			n = len(pattern)
		}
		key := canonical(pattern[:n])
		x.byPrefix[key] = append(x.byPrefix[key], aliasEntry{pattern, module})
		if strings.HasPrefix(pattern, "cpu:") {
			x.cpu[module] = append(x.cpu[module], pattern)
		}
		if !seen[n] {
			seen[n] = true
			x.lengths = append(x.lengths, n)
		}
	}
	slices.Sort(x.lengths)
	return x, nil
}

// find returns the modules whose patterns match, without repeats.
func (x *aliasIndex) find(alias string) []string {
	var found []string
	key := canonical(alias)
	for _, n := range x.lengths {
		if n > len(key) {
			break
		}
		for _, e := range x.byPrefix[key[:n]] {
			if match(e.pattern[n:], alias[n:]) && !slices.Contains(found, e.module) {
				found = append(found, e.module)
			}
		}
	}
	return found
}

// otherCPU reports whether the module is for CPUs with a feature that the one
// of this modalias lacks. Its kernel code looks at the same list.
func (x *aliasIndex) otherCPU(module, cpu string) bool {
	patterns := x.cpu[module]
	return len(patterns) > 0 && cpu != "" &&
		!slices.ContainsFunc(patterns, func(p string) bool { return match(p, cpu) })
}

// canonical is the one spelling of a module's name: the kernel's, with
// underscores.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }
