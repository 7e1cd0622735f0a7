package kernel

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A Catalog knows all modules of a Debian kernel: which devices they are for, and which firmware they ask for.
type Catalog struct {
	Version string

	dir     string
	x       *index
	aliases []Alias
	builtin map[string]bool
}

// An Alias is a pattern of modaliases, and which module is for what matches it.
type Alias struct {
	Pattern string
	Module  string // folded: with underscores
	Builtin bool   // part of the kernel
}

// OpenCatalog reads what the only kernel in the tree has.
func OpenCatalog(ctx context.Context, o Options) (*Catalog, error) {
	c := &Catalog{}
	var err error
	if c.Version, _, err = find(o.Tree); err != nil {
		return nil, err
	}
	if c.dir, err = o.Tree.Path("lib/modules/" + c.Version); err != nil {
		return nil, err
	}
	if err := depmod(ctx, o, c.Version, c.dir); err != nil {
		return nil, err
	}
	text := make(map[string][]byte)
	for _, name := range []string{"modules.dep", "modules.softdep", "modules.alias", "modules.builtin", "modules.builtin.modinfo"} {
		if text[name], err = os.ReadFile(filepath.Join(c.dir, name)); err != nil {
			return nil, fmt.Errorf("cannot read the module index: %w", err)
		}
	}
	if c.x, err = parseIndex(text["modules.dep"], text["modules.softdep"], text["modules.alias"]); err != nil {
		return nil, err
	}
	c.builtin = builtinNames(text["modules.builtin"])
	if c.aliases, err = aliases(text["modules.alias"]); err != nil {
		return nil, err
	}
	c.aliases = append(c.aliases, builtinAliases(text["modules.builtin.modinfo"])...)
	return c, nil
}

// aliases reads modules.alias as it is. A pattern may hold spaces.
func aliases(text []byte) ([]Alias, error) {
	var out []Alias
	err := eachLine(text, func(line string) error {
		rest, ok := strings.CutPrefix(line, "alias ")
		cut := strings.LastIndexByte(rest, ' ')
		if !ok || cut <= 0 {
			return fmt.Errorf("cannot read modules.alias: %q", line)
		}
		out = append(out, Alias{Pattern: rest[:cut], Module: fold(rest[cut+1:])})
		return nil
	})
	return out, err
}

// builtinAliases reads modules.builtin.modinfo: MODULE.KEY=VALUE, each with a zero byte behind it.
func builtinAliases(text []byte) []Alias {
	var out []Alias
	for entry := range bytes.SplitSeq(text, []byte{0}) {
		module, rest, ok := strings.Cut(string(entry), ".")
		if pattern, isAlias := strings.CutPrefix(rest, "alias="); ok && isAlias {
			out = append(out, Alias{Pattern: pattern, Module: fold(module), Builtin: true})
		}
	}
	return out
}

// Aliases are all that modules answer to.
func (c *Catalog) Aliases() []Alias { return c.aliases }

// Builtin tells whether a module is part of the kernel.
func (c *Catalog) Builtin(module string) bool { return c.builtin[fold(module)] }

// Path is where a module lies below kernel/, without the name's endings; empty if there is none.
func (c *Catalog) Path(module string) string {
	m, ok := c.x.byName[fold(module)]
	if !ok {
		return ""
	}
	return strings.TrimPrefix(path.Join(path.Dir(m), moduleName(m)), "kernel/")
}

// Firmware lists the files below lib/firmware that a module says it may ask for, sorted. Names may have wildcards.
func (c *Catalog) Firmware(module string) ([]string, error) {
	m, ok := c.x.byName[fold(module)]
	if !ok {
		return nil, fmt.Errorf("cannot find module %s", module)
	}
	data, err := readModule(filepath.Join(c.dir, m))
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("cannot read module %s: %w", module, err)
	}
	defer f.Close()
	info := f.Section(".modinfo")
	if info == nil {
		return nil, nil
	}
	text, err := info.Data()
	if err != nil {
		return nil, fmt.Errorf("cannot read module %s: %w", module, err)
	}
	var out []string
	for entry := range bytes.SplitSeq(text, []byte{0}) {
		if name, ok := strings.CutPrefix(string(entry), "firmware="); ok && name != "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// readModule reads a module as the kernel gets it.
func readModule(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read a kernel module: %w", err)
	}
	if path.Ext(file) == ".xz" { // newer Debian releases
		if data, err = unxz(data); err != nil {
			return nil, fmt.Errorf("cannot expand %s: %w", file, err)
		}
	}
	return data, nil
}

// Fold gives the spelling of a module's name that a Catalog uses.
func Fold(name string) string { return fold(name) }

// ModuleName is the name of the module in a file of lib/modules, folded; empty for what is no module.
func ModuleName(file string) string {
	if !strings.Contains(path.Base(file), ".ko") {
		return ""
	}
	return fold(moduleName(file))
}
