package config

import (
	"fmt"
	"reflect"
	"strings"
)

// A Change is one section in which two configurations differ.
type Change struct {
	Section string // "volume", "pool", ...; for a key of its own the key, as in "hostname"
	Name    string // of the section; empty for a key of its own
	Added   bool   // only the new one has it
	Removed bool   // only the old one has it
	// Details are the keys that differ, with what they were and are. A secret
	// isn't shown.
	Details []string
}

// String is a line for a person.
func (c Change) String() string {
	what := strings.TrimSpace(c.Section + " " + c.Name)
	switch {
	case c.Added:
		return what + " is new"
	case c.Removed:
		return what + " is gone"
	}
	return what + ": " + strings.Join(c.Details, ", ")
}

// Diff lists what is different in new, section by section.
func Diff(old, new *Config) []Change {
	var changes []Change
	a, b := reflect.ValueOf(*old), reflect.ValueOf(*new)
	for i := range a.NumField() {
		section := sectionName(a.Type().Field(i).Name)
		if a.Field(i).Kind() == reflect.Slice && a.Field(i).Type().Elem().Kind() == reflect.Struct {
			changes = append(changes, diffSections(section, a.Field(i), b.Field(i))...)
		} else if d := detail("", a.Field(i), b.Field(i)); d != "" {
			changes = append(changes, Change{Section: section, Details: []string{d}})
		}
	}
	return changes
}

// sectionName is how the file calls a field of Config.
func sectionName(field string) string { return strings.ToLower(strings.TrimSuffix(field, "s")) }

func diffSections(section string, old, new reflect.Value) []Change {
	var changes []Change
	rest := map[string]reflect.Value{}
	for i := range old.Len() {
		rest[keyOf(old.Index(i))] = old.Index(i)
	}
	for i := range new.Len() {
		key := keyOf(new.Index(i))
		was, ok := rest[key]
		delete(rest, key)
		c := Change{Section: section, Name: key, Added: !ok}
		if ok {
			for f := range was.NumField() {
				if d := detail(strings.ToLower(was.Type().Field(f).Name), was.Field(f), new.Index(i).Field(f)); d != "" {
					c.Details = append(c.Details, d)
				}
			}
		}
		if c.Added || len(c.Details) > 0 {
			changes = append(changes, c)
		}
	}
	for i := range old.Len() {
		if key := keyOf(old.Index(i)); rest[key].IsValid() {
			changes = append(changes, Change{Section: section, Name: key, Removed: true})
		}
	}
	return changes
}

// keyOf tells sections of a kind apart: by their names, interfaces by their
// match.
func keyOf(v reflect.Value) string {
	if name := v.FieldByName("Name"); name.IsValid() {
		return name.String()
	}
	return fmt.Sprintf("%v", v.FieldByName("Match").Interface())
}

// detail says how a value differs; empty if it doesn't.
func detail(key string, old, new reflect.Value) string {
	if reflect.DeepEqual(old.Interface(), new.Interface()) {
		return ""
	}
	a, b := valueText(key, old), valueText(key, new)
	if a == b { // a secret
		return strings.TrimSpace(key + " is another one")
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s -> %s", key, a, b))
}

func valueText(key string, v reflect.Value) string {
	if n, ok := v.Interface().(int64); ok && key == "size" {
		return sizeText(n)
	}
	if v.Kind() == reflect.Pointer && v.IsNil() || v.IsZero() {
		return "nothing"
	}
	return fmt.Sprintf("%v", v.Interface())
}

// sizeText writes a size the way the file does, in the largest unit that fits
// without a fraction.
func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	unit := 0
	for n != 0 && n%1024 == 0 && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	return fmt.Sprintf("%d%s", n, units[unit])
}
