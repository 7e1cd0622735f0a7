package config

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// The keys of every table.
const (
	tableTop       = ""
	tableInterface = "interface"
	tableMatch     = "interface.match"
	tablePool      = "pool"
	tableScrub     = "pool.scrub"
	tableVolume    = "volume"
	tableSnapshot  = "volume.snapshot"
	tableTarget    = "target"
	tableCHAP      = "target.chap"
	tableLimit     = "target.limit"
)

// keysOf lists the keys that a table may have.
func keysOf(table string) []string {
	switch table {
	case tableTop:
		return []string{"version", "hostname", "trash", "adopt", "interface", "pool", "volume", "target"}
	case tableInterface:
		return []string{"match", "addresses", "gateway", "mtu"}
	case tableMatch:
		return []string{"mac", "name", "driver"}
	case tablePool:
		return []string{"name", "disks", "layout", "spares", "spare_after", "scrub"}
	case tableScrub:
		return []string{"every"}
	case tableVolume:
		return []string{"name", "pool", "size", "from", "thick", "block", "snapshot", "priority"}
	case tableSnapshot:
		return []string{"every", "keep"}
	case tableTarget:
		return []string{"name", "iqn", "volumes", "initiators", "chap", "limit"}
	case tableCHAP:
		return []string{"user", "secret"}
	case tableLimit:
		return []string{"iops", "mbps"}
	}
	panic("config: unknown table " + table)
}

// walker turns the decoded tree into a Config and collects what is wrong.
type walker struct {
	file string
	pos  positions
	errs Errors
}

// fail notes an error.
func (w *walker) fail(line int, key, format string, args ...any) {
	w.errs = append(w.errs, &Error{File: w.file, Line: line, Key: key, Msg: fmt.Sprintf(format, args...)})
}

// A section is one table of the file.
type section struct {
	w     *walker
	table string // one of the table constants
	path  string // where it is in the document
	m     map[string]any
}

// fail notes an error at a key of the section, or at the section if key is "".
func (s section) fail(key, format string, args ...any) {
	s.failAt(s.at(key), key, format, args...)
}

// failAt is fail for a path inside the value of key.
func (s section) failAt(path, key, format string, args ...any) {
	name := s.table
	if key != "" {
		name = joinKey(name, key)
	}
	s.w.fail(s.w.pos.line(path), name, format, args...)
}

func (s section) at(key string) string {
	if key == "" {
		return s.path
	}
	return joinKey(s.path, key)
}

// has tells whether the file sets key.
func (s section) has(key string) bool { _, ok := s.m[key]; return ok }

// section opens a table and reports its unknown keys.
func (w *walker) section(table, path string, m map[string]any) section {
	s := section{w: w, table: table, path: path, m: m}
	known := keysOf(table)
	for key := range m {
		if slices.Contains(known, key) {
			continue
		}
		where := "a [[" + table + "]]"
		switch table {
		case tableTop:
			where = "the file"
		case tableMatch, tableScrub, tableCHAP, tableLimit, tableSnapshot:
			where = table
		}
		sort.Strings(known)
		if like := nearest(key, known); like != "" {
			s.fail(key, "unknown key; did you mean %s?", like)
		} else {
			s.fail(key, "unknown key; remove it (%s takes %s)", where, strings.Join(known, ", "))
		}
	}
	return s
}

// sections opens all tables of an array of tables.
func (w *walker) sections(top map[string]any, table string) []section {
	v, ok := top[table]
	if !ok {
		return nil
	}
	var maps []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		maps = v
	case []any: // [[x]] in its inline form, or x = []
		for i, e := range v {
			m, ok := e.(map[string]any)
			if !ok {
				w.fail(w.pos.line(joinIndex(table, i)), table, "is %s, but must be a section; start it with a line [[%s]]", kind(e), table)
				continue
			}
			maps = append(maps, m)
		}
	case map[string]any:
		w.fail(w.pos.line(table), table, "is a section in single brackets; write [[%s]]", table)
	default:
		w.fail(w.pos.line(table), table, "is %s, but must be a section; start it with a line [[%s]]", kind(v), table)
	}
	if len(maps) > maxSections {
		w.fail(w.pos.line(joinIndex(table, maxSections)), table, "this is section %d of its kind; there may be at most %d", maxSections+1, maxSections)
		maps = maps[:maxSections]
	}
	all := make([]section, len(maps))
	for i, m := range maps {
		all[i] = w.section(table, joinIndex(table, i), m)
	}
	return all
}

// table opens an inline table; nil if it isn't there or is wrong.
func (s section) sub(key, table, example string) *section {
	v, ok := s.m[key]
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		s.fail(key, "is %s, but must be a table, as in %s", kind(v), example)
		return nil
	}
	sub := s.w.section(table, s.at(key), m)
	return &sub
}

// text returns a string. ok is false if it is missing or wrong, which has been
// reported unless it is just missing.
func (s section) text(key, example string) (text string, ok bool) {
	v, ok := s.m[key]
	if !ok {
		return "", false
	}
	text, ok = v.(string)
	if !ok {
		s.fail(key, "is %s, but must be text between quotes, as in %s", kind(v), example)
	}
	return text, ok
}

// required is text that must be there.
func (s section) required(key, example string) (string, bool) {
	if !s.has(key) {
		s.fail("", "%s is missing; add %s", key, example)
		return "", false
	}
	return s.text(key, example)
}

// item is an element of a list, with its path.
type item struct{ text, path string }

// list returns a list of strings. ok is false if it is missing or wrong.
// Elements that are wrong or empty are reported and left out.
func (s section) list(key, example string) (items []item, ok bool) {
	v, ok := s.m[key]
	if !ok {
		return nil, false
	}
	elems, ok := v.([]any)
	if !ok {
		s.fail(key, "is %s, but must be a list, as in %s", kind(v), example)
		return nil, false
	}
	if len(elems) > maxList {
		s.fail(key, "has %d elements; it may have at most %d", len(elems), maxList)
		return nil, false
	}
	for i, e := range elems {
		path := joinIndex(s.at(key), i)
		switch text, isText := e.(string); {
		case !isText:
			s.failAt(path, key, "element %d is %s, but must be text between quotes, as in %s", i+1, kind(e), example)
		case text == "":
			s.failAt(path, key, "element %d is empty; fill it in or remove it", i+1)
		default:
			items = append(items, item{text, path})
		}
	}
	return items, true
}

// number returns an integer; ok is false if it is missing or wrong.
func (s section) number(key, example string) (n int64, ok bool) {
	v, ok := s.m[key]
	if !ok {
		return 0, false
	}
	n, ok = v.(int64)
	if !ok {
		s.fail(key, "is %s, but must be a whole number without quotes, as in %s", kind(v), example)
	}
	return n, ok
}

// flag returns a boolean; false if it is missing or wrong.
func (s section) flag(key string) bool {
	v, ok := s.m[key]
	if !ok {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		s.fail(key, "is %s, but must be true or false without quotes", kind(v))
	}
	return b
}

// Bounds on the elements of a list and the sections of a kind.
const (
	maxList     = 1024
	maxSections = 4096
)

// kind names the type of a value for a user. It never shows the value.
func kind(v any) string {
	switch v.(type) {
	case string:
		return "text"
	case int64:
		return "a number"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date"
}

// nearest returns the known key that key is likely a misspelling of, or "".
func nearest(key string, known []string) string {
	best, limit := "", min(3, 1+len(key)/2)
	for _, k := range known {
		if d := distance(strings.ToLower(key), k); d < limit {
			best, limit = k, d
		}
	}
	return best
}

// distance is the edit distance of two short strings; keys of more than 32
// bytes are like nothing.
func distance(a, b string) int {
	if len(a) > 32 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
