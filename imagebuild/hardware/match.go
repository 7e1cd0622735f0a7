package hardware

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"sanstick/imagebuild/kernel"
)

// An Image is what of an image matters here.
type Image struct {
	Kernel   string          // its version
	Modules  map[string]bool // folded names
	Firmware map[string]bool // names below lib/firmware
}

// Kernel is what is known of all of Debian's modules; *kernel.Catalog is one.
type Kernel interface {
	Aliases() []kernel.Alias
	Builtin(module string) bool
	Firmware(module string) ([]string, error)
}

// A Driver is a module of the image that drives a device.
type Driver struct {
	Module  string
	Builtin bool     // part of the kernel
	Wants   []string // firmware that it may ask for
	Lacks   []string // those of them that the image doesn't have
}

// A Verdict says what drives a device.
type Verdict struct {
	Device
	Drivers []Driver
	Others  []string // with no Drivers: Debian's modules that would
	Guess   bool     // by what lspci and lsusb leave out it may be otherwise
}

// Judge says for each device what drives it.
func Judge(devices []Device, im Image, k Kernel) ([]Verdict, error) {
	m := newMatcher(k.Aliases())
	var out []Verdict
	for _, d := range devices {
		v := Verdict{Device: d}
		sure, maybe := m.find(d.Modalias)
		found := sure
		if v.Guess = len(sure) == 0; v.Guess {
			found = maybe
			hinted := slices.DeleteFunc(slices.Clone(maybe), func(a kernel.Alias) bool { return !slices.Contains(d.Hints, a.Module) })
			if len(hinted) > 0 {
				found, v.Guess = hinted, false
			}
		}
		for _, a := range found {
			switch {
			case a.Builtin || im.Modules[a.Module]:
				driver, err := newDriver(a.Module, a.Builtin, im, k)
				if err != nil {
					return nil, err
				}
				v.Drivers = append(v.Drivers, driver)
			default:
				v.Others = append(v.Others, a.Module)
			}
		}
		if len(v.Drivers) > 0 {
			v.Others = nil
		}
		// A driver may have been told of a device by another one.
		if name := kernel.Fold(d.Driver); len(found) == 0 && name != "" && (im.Modules[name] || k.Builtin(name)) {
			driver, err := newDriver(name, !im.Modules[name], im, k)
			if err != nil {
				return nil, err
			}
			v.Drivers, v.Guess = []Driver{driver}, false
		}
		v.Guess = v.Guess && len(found) > 0
		out = append(out, v)
	}
	return out, nil
}

func newDriver(module string, builtin bool, im Image, k Kernel) (Driver, error) {
	d := Driver{Module: module, Builtin: builtin}
	if builtin {
		return d, nil
	}
	var err error
	if d.Wants, err = k.Firmware(module); err != nil {
		return d, err
	}
	d.Lacks = slices.DeleteFunc(slices.Clone(d.Wants), im.has)
	return d, nil
}

// has tells whether the image has firmware of a name, which may have wildcards.
func (im Image) has(name string) bool {
	if !strings.ContainsAny(name, "*?[") {
		return im.Firmware[name]
	}
	for have := range im.Firmware {
		if ok, err := path.Match(name, have); err == nil && ok {
			return true
		}
	}
	return false
}

// matcher finds modules for modaliases.
type matcher struct {
	byBus map[string][]kernel.Alias
}

func newMatcher(all []kernel.Alias) *matcher {
	m := &matcher{byBus: make(map[string][]kernel.Alias)}
	for _, a := range all {
		if bus, _, ok := strings.Cut(a.Pattern, ":"); ok {
			m.byBus[bus] = append(m.byBus[bus], a)
		}
	}
	return m
}

// find returns the modules for a modalias, without repeats: those that are for it for sure, and those that are if what a *
// in it stands for fits.
func (m *matcher) find(modalias string) (sure, maybe []kernel.Alias) {
	bus, rest, _ := strings.Cut(modalias, ":")
	known := fields(bus, rest)
	partly := known != nil && strings.Contains(rest, "*")
	add := func(to *[]kernel.Alias, a kernel.Alias) {
		if !slices.ContainsFunc(*to, func(o kernel.Alias) bool { return o.Module == a.Module }) {
			*to = append(*to, a)
		}
	}
	for _, a := range m.byBus[bus] {
		if !partly {
			if ok, err := path.Match(strings.ReplaceAll(a.Pattern, "[!", "[^"), modalias); err == nil && ok {
				add(&sure, a)
			}
			continue
		}
		pattern := fields(bus, strings.TrimPrefix(a.Pattern, bus+":"))
		if pattern == nil || bus == "usb" && pattern[0] == "*" {
			continue // by its class, of which lsusb says nothing
		}
		fits, certain := true, true
		for i := range pattern {
			switch {
			case pattern[i] == "*":
			case known[i] == "*":
				certain = false
			default:
				ok, err := path.Match(pattern[i], known[i])
				fits = fits && ok && err == nil
			}
		}
		switch {
		case fits && certain:
			add(&sure, a)
		case fits:
			add(&maybe, a)
		}
	}
	return sure, maybe
}

const hex8, hex4, hex2 = `([0-9A-F]{8}|\*)`, `([0-9A-F]{4}|\*)`, `([0-9A-F]{2}|\*)`

var (
	pciFields = regexp.MustCompile(`^v` + hex8 + `d` + hex8 + `sv` + hex8 + `sd` + hex8 + `bc` + hex2 + `sc` + hex2 + `i` + hex2 + `\*?$`)
	usbFields = regexp.MustCompile(`^v` + hex4 + `p` + hex4 + `d([0-9A-F*\[\]-]+)dc` + hex2 + `dsc` + hex2 + `dp` + hex2 + `ic` + hex2 + `isc` + hex2 + `ip` + hex2 + `in` + hex2 + `\*?$`)
)

// fields takes apart what a modalias, or a pattern, of PCI or USB says; nil for any other.
func fields(bus, rest string) []string {
	form := pciFields
	switch bus {
	case "pci":
	case "usb":
		form = usbFields
	default:
		return nil
	}
	m := form.FindStringSubmatch(rest)
	if m == nil {
		return nil
	}
	return m[1:]
}
