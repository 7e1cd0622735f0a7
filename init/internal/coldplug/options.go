package coldplug

import "strings"

// Options are what the machine and the kernel's command line say about
// modules.
type Options struct {
	// CPU is the CPU's modalias, CPUAlias. What is optional and for other
	// CPUs isn't tried in vain, which takes a tenth of a second each under
	// emulation. Empty: all is tried.
	CPU        string
	Parameters map[string][]string // by module: "name=value"
	Blacklist  map[string]bool     // not to be loaded for a device
}

// ParseOptions finds the modules' parameters ("libata.force=noncq") and
// modprobe.blacklist in the kernel's command line, as modprobe(8) does, and
// adds the modules that are never wanted.
func ParseOptions(cmdline string) Options {
	o := Options{Parameters: make(map[string][]string), Blacklist: make(map[string]bool)}
	for _, n := range never() {
		o.Blacklist[n] = true
	}
	for _, word := range splitQuoted(cmdline) {
		if word == "--" { // the rest is for init
			break
		}
		name, param, ok := strings.Cut(word, ".")
		if !ok || name == "" || strings.ContainsAny(name, "=") {
			continue
		}
		if list, ok := strings.CutPrefix(param, "blacklist="); ok && name == "modprobe" {
			for n := range strings.SplitSeq(list, ",") {
				o.Blacklist[canonical(n)] = true
			}
			continue
		}
		name = canonical(name)
		o.Parameters[name] = append(o.Parameters[name], param)
	}
	return o
}

// splitQuoted splits at white space that isn't within double quotes.
func splitQuoted(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n')
	})
}
