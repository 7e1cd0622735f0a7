package config

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds on what is handed to the TOML decoder, which recurses: no valid
// configuration comes near them.
const (
	maxDepth = 16 // nested arrays and inline tables
	maxParts = 8  // parts of a dotted key
)

// positions tells on which line a key of a TOML document stands: the decoder
// keeps that to itself. Paths look like "pool[1].disks[0]".
type positions struct {
	lines map[string]int
	// tooDeep is the line where the document goes past maxDepth or maxParts;
	// 0 if it doesn't. Nothing after it is in lines.
	tooDeep int
}

// line returns the line of path, or of the nearest thing around it that has
// one. 0 means that nothing is known.
func (p positions) line(path string) int {
	for path != "" {
		if n, ok := p.lines[path]; ok {
			return n
		}
		path = parentPath(path)
	}
	return 0
}

// parentPath cuts the last index or key off. A quoted key with dots or
// brackets in it may need several cuts, which a caller that goes on until it
// finds something does not mind.
func parentPath(path string) string {
	i := strings.LastIndexAny(path, ".[")
	if i < 0 {
		return ""
	}
	return path[:i]
}

// joinKey adds a key to a path, in quotes unless it is a bare key.
func joinKey(path, key string) string {
	bare := key != ""
	for i := range len(key) {
		bare = bare && isBare(key[i])
	}
	if !bare {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// joinIndex adds an array index to a path.
func joinIndex(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// scanPositions finds the keys of a document. It reads a valid document just
// as the decoder does; in an invalid one it gives up where it stops making
// sense of it, which is never before the decoder's first error.
func scanPositions(data string) positions {
	s := scanner{data: data, lineNo: 1, tables: map[string]int{},
		pos: positions{lines: map[string]int{}}}
	s.document()
	return s.pos
}

// scanner walks over a document byte by byte.
type scanner struct {
	data   string
	at     int
	lineNo int
	tables map[string]int // [[table]] headers seen so far, by path
	pos    positions
}

// document scans headers and "key = value" lines. Each step returns false
// where the document makes no sense.
func (s *scanner) document() {
	table := ""
	for {
		s.space(true)
		switch {
		case s.at >= len(s.data):
			return
		case s.peek() == '[':
			var ok bool
			if table, ok = s.header(); !ok {
				return
			}
		case !s.keyValue(table, 0):
			return
		}
	}
}

// header scans [a.b] or [[a.b]] and returns the path that the keys after it
// belong to.
func (s *scanner) header() (string, bool) {
	line := s.lineNo
	s.at++
	array := s.accept('[')
	keys, ok := s.dotted()
	if !ok || !s.accept(']') || array && !s.accept(']') {
		return "", false
	}
	path := ""
	for i, k := range keys {
		path = joinKey(path, k)
		n, seen := s.tables[path]
		if last := i == len(keys)-1; last && array {
			s.mark(path, line)
			s.tables[path] = n + 1
			path = joinIndex(path, n)
		} else if seen { // [a.b] under [[a]] belongs to the latest a
			path = joinIndex(path, n-1)
		}
		s.mark(path, line)
	}
	return path, true
}

// keyValue scans "a.b = value".
func (s *scanner) keyValue(table string, depth int) bool {
	line := s.lineNo
	keys, ok := s.dotted()
	if !ok || !s.accept('=') {
		return false
	}
	path := table
	for _, k := range keys {
		path = joinKey(path, k)
		s.mark(path, line)
	}
	s.space(false)
	return s.value(path, depth)
}

// mark notes the line of a path, the first time only.
func (s *scanner) mark(path string, line int) {
	if _, ok := s.pos.lines[path]; !ok {
		s.pos.lines[path] = line
	}
}

// dotted scans the parts of a key, and the blanks around it.
func (s *scanner) dotted() ([]string, bool) {
	var keys []string
	for {
		s.space(false)
		start := s.at
		switch c := s.peek(); {
		case c == '"' || c == '\'':
			text, ok := s.quoted()
			if !ok {
				return nil, false
			}
			keys = append(keys, text)
		default:
			for s.at < len(s.data) && isBare(s.data[s.at]) {
				s.at++
			}
			if s.at == start {
				return nil, false
			}
			keys = append(keys, s.data[start:s.at])
		}
		if len(keys) > maxParts {
			s.pos.tooDeep = s.lineNo
			return nil, false
		}
		s.space(false)
		if !s.accept('.') {
			return keys, true
		}
	}
}

// value scans any value and notes the elements of arrays and the keys of
// inline tables in it.
func (s *scanner) value(path string, depth int) bool {
	if depth > maxDepth {
		s.pos.tooDeep = s.lineNo
		return false
	}
	switch s.peek() {
	case '"', '\'':
		_, ok := s.quoted()
		return ok
	case '[':
		s.at++
		for i := 0; ; i++ {
			s.space(true)
			if s.accept(']') {
				return true
			}
			elem := joinIndex(path, i)
			s.mark(elem, s.lineNo)
			if !s.value(elem, depth+1) {
				return false
			}
			s.space(true)
			if !s.accept(',') && s.peek() != ']' {
				return false
			}
		}
	case '{':
		s.at++
		for {
			s.space(true)
			if s.accept('}') {
				return true
			}
			if !s.keyValue(path, depth+1) {
				return false
			}
			s.space(true)
			if !s.accept(',') && s.peek() != '}' {
				return false
			}
		}
	}
	start := s.at // a number, a date or a boolean
	for s.at < len(s.data) && !strings.ContainsRune("\r\n,]}#", rune(s.data[s.at])) {
		s.at++
	}
	return s.at > start
}

// quoted scans a string of any of the four kinds and returns its text.
func (s *scanner) quoted() (string, bool) {
	q := s.data[s.at : s.at+1]
	if three := strings.Repeat(q, 3); strings.HasPrefix(s.data[s.at:], three) {
		s.at += 3
		return "", s.multiline(three)
	}
	s.at++
	var text strings.Builder
	for s.at < len(s.data) {
		c := s.data[s.at]
		switch {
		case c == '\n':
			return "", false
		case c == q[0]:
			s.at++
			return text.String(), true
		case c == '\\' && q == `"`:
			if !s.escape(&text) {
				return "", false
			}
		default:
			text.WriteByte(c)
			s.at++
		}
	}
	return "", false
}

// multiline scans to the closing quotes; up to two more quotes before them
// belong to the text.
func (s *scanner) multiline(quotes string) bool {
	for s.at < len(s.data) {
		switch {
		case s.data[s.at] == '\\' && quotes[0] == '"' && s.at+1 < len(s.data):
			s.at++
			s.countLine()
			s.at++
		case strings.HasPrefix(s.data[s.at:], quotes):
			s.at += 3
			for i := 0; i < 2 && s.peek() == quotes[0]; i++ {
				s.at++
			}
			return true
		default:
			s.countLine()
			s.at++
		}
	}
	return false
}

// escape scans a backslash sequence of a basic string.
func (s *scanner) escape(text *strings.Builder) bool {
	if s.at+1 >= len(s.data) {
		return false
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s.data[s.at+1]]
	if digits == 0 {
		simple := map[byte]byte{'b': '\b', 't': '\t', 'n': '\n', 'f': '\f', 'r': '\r', 'e': 0x1b, '"': '"', '\\': '\\'}
		c, ok := simple[s.data[s.at+1]]
		text.WriteByte(c)
		s.at += 2
		return ok
	}
	s.at += 2
	if s.at+digits > len(s.data) {
		return false
	}
	n, err := strconv.ParseUint(s.data[s.at:s.at+digits], 16, 32)
	if err != nil || n > utf8.MaxRune {
		return false
	}
	text.WriteRune(rune(n))
	s.at += digits
	return true
}

// space skips blanks, and line ends and comments too if lines is set.
func (s *scanner) space(lines bool) {
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == ' ' || c == '\t':
			s.at++
		case lines && (c == '\n' || c == '\r'):
			s.countLine()
			s.at++
		case lines && c == '#':
			for s.at < len(s.data) && s.data[s.at] != '\n' {
				s.at++
			}
		default:
			return
		}
	}
}

// countLine counts the line end at the current byte, if there is one.
func (s *scanner) countLine() {
	if s.data[s.at] == '\n' {
		s.lineNo++
	}
}

// peek returns the current byte, or 0 at the end.
func (s *scanner) peek() byte {
	if s.at >= len(s.data) {
		return 0
	}
	return s.data[s.at]
}

// accept skips c if it is the current byte.
func (s *scanner) accept(c byte) bool {
	if s.at >= len(s.data) || s.data[s.at] != c {
		return false
	}
	s.at++
	return true
}
