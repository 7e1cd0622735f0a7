package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// MaxFile is the largest configuration file in bytes.
const MaxFile = 1 << 20

// Parse reads a configuration. file is only a name for the errors. An empty
// file is valid: it serves nothing. A byte order mark and Windows line ends
// are fine.
//
// The error is of type Errors and lists everything that is wrong, not only the
// first thing; after a syntax error it lists just that. The Config is nil then.
func Parse(file string, data []byte) (*Config, error) {
	w := &walker{file: file}
	tree := w.decode(data)
	if len(w.errs) > 0 {
		return nil, w.errs.sorted()
	}
	w.readable(tree)
	if len(w.errs) > 0 {
		return nil, w.errs
	}
	c := w.config(tree)
	if len(w.errs) > 0 {
		return nil, w.errs.sorted()
	}
	return c, nil
}

// decode turns the bytes into a tree and fills the positions. All that is
// wrong goes to w.errs.
func (w *walker) decode(data []byte) map[string]any {
	if len(data) > MaxFile {
		w.fail(0, "", "the file has %d bytes, more than the %d that a configuration may have; is this the right file?", len(data), MaxFile)
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		w.fail(1, "", "the file is UTF-16; save it as UTF-8")
		return nil
	}
	if line := badUTF8(data); line > 0 {
		w.fail(line, "", "this line has bytes that are not UTF-8; save the file as UTF-8 (or remove the accented letters from this line)")
		return nil
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		w.fail(1+bytes.Count(data[:i], []byte("\n")), "", "this line has a NUL byte, so the file is damaged or not text; restore it or write it again")
		return nil
	}
	text := string(data)
	w.pos = scanPositions(text)
	if w.pos.tooDeep > 0 {
		w.fail(w.pos.tooDeep, "", "brackets or dots are nested too deep; no setting needs that")
		return nil
	}
	tree := map[string]any{}
	if _, err := toml.Decode(text, &tree); err != nil {
		w.syntax(text, err)
		return nil
	}
	return tree
}

// badUTF8 returns the first line that is not UTF-8, or 0.
func badUTF8(data []byte) int {
	if utf8.Valid(data) {
		return 0
	}
	line := 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			break
		}
		if r == '\n' {
			line++
		}
		data = data[n:]
	}
	return line
}

// syntax reports what the decoder found wrong. The decoder quotes the file in
// its messages, so a message about a secret is replaced by a fixed one.
func (w *walker) syntax(text string, err error) {
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		w.fail(0, "", "the file cannot be read as TOML")
		return
	}
	var line string
	if lines := strings.Split(text, "\n"); pe.Position.Line >= 1 && pe.Position.Line <= len(lines) {
		line = lines[pe.Position.Line-1]
	}
	msg := syntaxMessage(pe.Message, line)
	if holdsSecret(line) || holdsSecret(pe.LastKey) {
		msg = `this is not TOML; write a secret between straight quotes, as in secret = "..."`
	}
	w.fail(pe.Position.Line, "", "%s", msg)
}

// holdsSecret tells whether a piece of a broken file may show a secret.
func holdsSecret(s string) bool {
	s = strings.ToLower(s)
	return strings.Contains(s, "secret") || strings.Contains(s, "chap")
}

// syntaxMessage says in words for a user what the decoder's message means.
// Nothing that was written as a value is repeated: it may be a secret under a
// misspelt key.
func syntaxMessage(msg, line string) string {
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(strings.ToLower(msg), p) })
	}
	switch {
	case strings.ContainsAny(line, "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"):
		return `this line has typographic quotes; use straight ones: "`
	case has("already been defined", "already created"):
		return strings.TrimSuffix(shorten(msg), ".") +
			"; remove one of the two, and start every interface, pool, volume and target with its own line in double brackets, such as [[pool]]"
	case has("escape", "hexadecimal digits"):
		return `a backslash in this text has no meaning; write it as \\ or put the text between single quotes`
	case has("expected value", "invalid float", "invalid integer", "invalid datetime", "cannot use sign",
		"not a binary", "not an octal", "not a hexadecimal", "expected a digit", "floats must", "out of range"):
		return `there is no valid value after the "="; put text between quotes, as in name = "tank"`
	case has("expected '.' or '='"):
		return `this is not a setting; one looks like name = "value", and a comment starts with #`
	case has("cannot contain newlines"), has("unexpected eof"):
		return "a closing quote or bracket is missing here"
	case has("expected a comma"):
		return "a comma, a closing quote or a closing bracket is missing here"
	case has("expected a top-level item"):
		return "there is more behind the value; put text and sizes between quotes, and each setting on a line of its own"
	}
	return "this is not TOML: " + shorten(msg)
}

// shorten bounds a piece of the file that is shown in an error.
func shorten(s string) string {
	const limit = 160
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "..."
}

// show quotes a value of the file for an error.
func show(v any) string { return shorten(fmt.Sprintf("%q", fmt.Sprint(v))) }
