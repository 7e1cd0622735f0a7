package main

import "strings"

// keyLines tells on which line each key of a TOML document stands, by paths
// such as "target[1].lun[0].path": the decoder, which has taken the document
// before, keeps that to itself. What is inside an inline table, or an array, is
// on the line where that begins.
func keyLines(doc string) map[string]int {
	s := lineScanner{doc: doc, line: 1, paths: make(map[string]int), arrays: make(map[string]int)}
	for table := ""; s.blank(); {
		line := s.line
		if !strings.HasPrefix(s.doc[s.at:], "[") {
			s.note(s.join(table, s.key("=")), line)
			s.value()
			continue
		}
		array := strings.HasPrefix(s.doc[s.at:], "[[")
		s.at++
		if array {
			s.at++
		}
		table = s.join("", s.key("]"))
		if array {
			n := s.arrays[table]
			s.arrays[table]++
			s.note(table, line)
			table = element(table, n)
			s.at++
		}
		s.note(table, line)
	}
	return s.paths
}

// lineOf returns the line of a path, or of the nearest thing around it.
func lineOf(lines map[string]int, path string) int {
	for {
		if n := lines[path]; n != 0 || path == "" {
			return n
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

type lineScanner struct {
	doc      string
	at, line int
	paths    map[string]int
	arrays   map[string]int // [[table]] headers so far
}

func (s *lineScanner) note(path string, line int) {
	if s.paths[path] == 0 {
		s.paths[path] = line
	}
}

// blank skips what has no meaning, and returns false at the end.
func (s *lineScanner) blank() bool {
	for ; s.at < len(s.doc); s.at++ {
		switch s.doc[s.at] {
		case '\n':
			s.line++
		case ' ', '\t', '\r':
		case '#':
			s.comment()
			s.at-- // for the line to be counted
		default:
			return true
		}
	}
	return false
}

func (s *lineScanner) comment() {
	if n := strings.IndexByte(s.doc[s.at:], '\n'); n >= 0 {
		s.at += n
	} else {
		s.at = len(s.doc)
	}
}

// key reads a key with dots up to a delimiter, which it skips.
func (s *lineScanner) key(end string) (parts []string) {
	part := ""
	for ; s.at < len(s.doc); s.at++ {
		switch c := s.doc[s.at]; {
		case c == end[0]:
			s.at++
			return append(parts, part)
		case c == '.':
			parts, part = append(parts, part), ""
		case c == '"', c == '\'':
			from := s.at + 1
			s.text()
			s.at--
			part = s.doc[from:max(from, s.at)]
		case c != ' ' && c != '\t':
			part += string(c)
		}
	}
	return append(parts, part)
}

// join adds a key to the path of a table. Where a part is an array of tables
// that has begun, its last element is meant.
func (s *lineScanner) join(path string, parts []string) string {
	for i, p := range parts {
		path = strings.TrimPrefix(path+"."+p, ".")
		if n := s.arrays[path]; n > 0 && i < len(parts)-1 {
			path = element(path, n-1)
		}
	}
	return path
}

// value skips a value: up to the end of the line, or of the array or inline
// table that it opens.
func (s *lineScanner) value() {
	for depth := 0; s.at < len(s.doc); {
		switch s.doc[s.at] {
		case '"', '\'':
			s.text()
			continue
		case '#':
			s.comment()
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '\n':
			if depth <= 0 {
				return
			}
			s.line++
		}
		s.at++
	}
}

// text skips a string of any kind.
func (s *lineScanner) text() {
	quote := s.doc[s.at : s.at+1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(s.doc[s.at:], long) {
		quote = long
	}
	for s.at += len(quote); s.at < len(s.doc); s.at++ {
		switch {
		case s.doc[s.at] == '\\' && quote[0] == '"':
			s.at++ // a line may end here
			if s.at < len(s.doc) && s.doc[s.at] == '\n' {
				s.line++
			}
		case strings.HasPrefix(s.doc[s.at:], quote):
			s.at += len(quote)
			for len(quote) == 3 && s.at < len(s.doc) && s.doc[s.at] == quote[0] {
				s.at++ // quotes at the end of a long string
			}
			return
		case s.doc[s.at] == '\n':
			s.line++
		}
	}
}
