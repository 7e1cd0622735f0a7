package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// document is a decoded configuration file, and what was found wrong with it.
type document struct {
	file  string
	lines map[string]int
	errs  []error
}

// fail notes an error at a path.
func (d *document) fail(path, format string, args ...any) {
	where := d.file
	if n := lineOf(d.lines, path); n != 0 {
		where = fmt.Sprintf("%s:%d", where, n)
	}
	d.errs = append(d.errs, fmt.Errorf("%s: %s: %s", where, path, fmt.Sprintf(format, args...)))
}

// err returns all errors, in the order of the file.
func (d *document) err() error { return errors.Join(d.errs...) }

// table is a table of the document. The methods take a key out of it; what is
// left at the end is unknown.
type table struct {
	d      *document
	path   string
	values map[string]any
}

func (t *table) at(key string) string { return strings.TrimPrefix(t.path+"."+key, ".") }

func element(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func (t *table) take(key string) (any, bool) {
	v, ok := t.values[key]
	delete(t.values, key)
	return v, ok
}

// text returns a string, "" if there is none.
func (t *table) text(key string) string {
	v, ok := t.take(key)
	s, isText := v.(string)
	if ok && !isText {
		t.d.fail(t.at(key), "must be a string")
	}
	return s
}

// texts returns a list of strings. has tells whether the key is there.
func (t *table) texts(key string) (all []string, has bool) {
	v, ok := t.take(key)
	list, isList := v.([]any)
	if ok && !isList {
		t.d.fail(t.at(key), "must be a list of strings")
	}
	for _, e := range list {
		s, isText := e.(string)
		if !isText {
			t.d.fail(t.at(key), "must be a list of strings")
			return nil, true
		}
		all = append(all, s)
	}
	return all, ok
}

// addresses returns a list of address:port.
func (t *table) addresses(key string) []string {
	all, _ := t.texts(key)
	for _, a := range all {
		if err := checkAddress(a); err != nil {
			t.d.fail(t.at(key), "%v", err)
		}
	}
	return all
}

// flag returns a boolean, false if there is none.
func (t *table) flag(key string) bool {
	v, ok := t.take(key)
	on, isBool := v.(bool)
	if ok && !isBool {
		t.d.fail(t.at(key), "must be true or false")
	}
	return on
}

// group returns the tag of a portal group, 1 if there is none.
func (t *table) group(key string) uint16 {
	v, ok := t.take(key)
	if !ok {
		return 1
	}
	return t.tag(key, v)
}

// groups returns the tags of portal groups.
func (t *table) groups(key string) (tags []uint16) {
	v, ok := t.take(key)
	list, isList := v.([]any)
	if ok && !isList {
		t.d.fail(t.at(key), "must be a list of portal groups")
	}
	for _, e := range list {
		tags = append(tags, t.tag(key, e))
	}
	return tags
}

func (t *table) tag(key string, v any) uint16 {
	n, isInt := v.(int64)
	if !isInt || n < 1 || n > 65535 {
		t.d.fail(t.at(key), "a portal group is 1 to 65535")
		return 1
	}
	return uint16(n)
}

// table returns a table, nil if there is none.
func (t *table) table(key string) *table {
	v, ok := t.take(key)
	m, isTable := v.(map[string]any)
	if ok && !isTable {
		t.d.fail(t.at(key), "must be a table: %s = { ... }", key)
	}
	if !isTable {
		return nil
	}
	return &table{t.d, t.at(key), m}
}

// tables returns an array of tables.
func (t *table) tables(key string) (all []*table) {
	v, ok := t.take(key)
	var list []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		list = v
	case []any:
		for _, e := range v {
			m, isTable := e.(map[string]any)
			if ok = ok && isTable; isTable {
				list = append(list, m)
			}
		}
		if !ok {
			t.d.fail(t.at(key), "must be an array of tables")
		}
	default:
		if ok {
			t.d.fail(t.at(key), "must be an array of tables: write [[%s]]", strings.ReplaceAll(t.at(key), "[0]", ""))
		}
	}
	for i, m := range list {
		all = append(all, &table{t.d, element(t.at(key), i), m})
	}
	return all
}

// end notes the keys that nobody has taken.
func (t *table) end(known string) {
	for _, key := range slices.Sorted(maps.Keys(t.values)) {
		t.d.fail(t.at(key), "unknown key; there are %s", known)
	}
}
